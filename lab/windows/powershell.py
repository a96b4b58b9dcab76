"""Run the small part of PowerShell that Keyturn's constant scripts use.

A script is parsed by tree-sitter's grammar, and its tree is evaluated. A construct, command, type or member
that is not modelled raises `Unsupported`, which no script can catch. Modelled after the specification of the
language, version 3.0; it was never compared with a real PowerShell.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import tree_sitter
import tree_sitter_powershell
from tree_sitter import Node

from lab.windows.values import (
    VOID,
    ErrorRecord,
    Failure,
    Thing,
    Unsupported,
    add,
    called,
    member_of,
    operate,
    text,
    truth,
)

_LANGUAGE: Final = tree_sitter.Language(tree_sitter_powershell.language())
_parsing = threading.Lock()


class Exited(Exception):
    """The script said `exit`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Returned(Exception):
    def __init__(self, outputs: list[Any]) -> None:
        super().__init__()
        self.outputs = outputs


class Environment:
    """What a script finds around it; the types and commands that it may use."""

    def variable(self, name: str) -> Any:
        """A variable that the script has not set."""
        raise Unsupported(f"${name}")

    def static(self, type_: str, member: str, arguments: list[Any] | None) -> Any:
        """A static property, or the result of a static method."""
        raise Unsupported(f"[{type_}]::{member}")

    def cast(self, type_: str, value: Any) -> Any:
        """A value as another type."""
        raise Unsupported(f"[{type_}]")

    def command(self, name: str, positional: list[Any], named: dict[str, Any]) -> Any:
        """What a command gives, as a list or a single value."""
        raise Unsupported(name)

    def write(self, line: str) -> None:
        """Take a line of the script's output."""

    def pause(self) -> None:
        """Raise `Killed` where the process has been ended."""


@functools.cache
def _parsed(script: str) -> tree_sitter.Tree:
    with _parsing:
        tree = tree_sitter.Parser(_LANGUAGE).parse(script.encode())
    if tree.root_node.has_error:
        raise Unsupported("the script does not parse")
    return tree


class Interpreter:
    """Runs one script in one environment."""

    def __init__(self, environment: Environment) -> None:
        self._around = environment
        self._functions: dict[str, Node] = {}
        self._scopes: list[dict[str, Any]] = [{}]
        self._caught: list[Failure] = []

    def run(self, script: str) -> int:
        """Run it and return its exit code. An error that it does not catch flies as `Failure`."""
        tree = _parsed(script)
        try:
            for output in self._outputs(tree.root_node):
                self._around.write(text(output))
        except Exited as ended:
            return ended.code
        return 0

    # -- statements -------------------------------------------------------------------------------

    def _outputs(self, node: Node) -> Iterator[Any]:
        self._around.pause()
        handler = getattr(self, "_do_" + node.type, None)
        if handler is not None:
            yield from handler(node)
        else:
            value = self._value(node)
            if value is not VOID:
                yield from value if isinstance(value, list) else [value]

    def _do_program(self, node: Node) -> Iterator[Any]:
        for child in node.named_children:
            if child.type != "comment":
                yield from self._outputs(child)

    _do_statement_list = _do_program
    _do_script_block_body = _do_program
    _do_script_block = _do_program

    def _do_empty_statement(self, node: Node) -> Iterator[Any]:
        yield from ()

    def _do_function_statement(self, node: Node) -> Iterator[Any]:
        name = _child(node, "function_name")
        assert name is not None
        self._functions[_text(name).lower()] = node
        yield from ()

    def _do_statement_block(self, node: Node) -> Iterator[Any]:
        for child in node.named_children:
            if child.type != "comment":
                yield from self._outputs(child)

    def _do_if_statement(self, node: Node) -> Iterator[Any]:
        branches: list[tuple[Node | None, Node]] = [(_field(node, "condition"), _block(node))]
        for clause in (c for c in node.named_children if c.type == "elseif_clauses"):
            branches += [(_field(c, "condition"), _block(c)) for c in clause.named_children]
        if other := _child(node, "else_clause"):
            branches.append((None, _block(other)))
        for condition, block in branches:
            if condition is None or truth(self._value(condition)):
                yield from self._outputs(block)
                return

    def _do_foreach_statement(self, node: Node) -> Iterator[Any]:
        variable, source = (c for c in node.named_children if c.type not in ("statement_block", "comment"))
        values = self._value(source)
        for value in values if isinstance(values, list) else [] if values is None else [values]:
            self._scopes[-1][_text(variable)[1:].lower()] = value
            yield from self._outputs(_block(node))

    def _do_while_statement(self, node: Node) -> Iterator[Any]:
        condition = _field(node, "condition")
        while truth(self._value(condition)):
            yield from self._outputs(_block(node))

    def _do_try_statement(self, node: Node) -> Iterator[Any]:
        last = _child(node, "finally_clause")
        try:
            # All at once: what was given before an error is given, and the handler comes after it.
            given: list[Any] = []
            try:
                given.extend(self._outputs(_block(node)))
                yield from given
            except _Returned as returned:
                raise _Returned([*given, *returned.outputs]) from None
            except Failure as failure:
                handler = self._handler(node, failure)
                if handler is None:
                    raise
                yield from given
                self._caught.append(failure)
                self._scopes[-1]["_"] = ErrorRecord(failure)
                try:
                    yield from list(self._outputs(handler))
                finally:
                    self._caught.pop()
        finally:
            if last is not None:
                for _ in self._outputs(_block(last)):
                    raise Unsupported("output of a finally block")

    def _handler(self, node: Node, failure: Failure) -> Node | None:
        for clauses in (c for c in node.named_children if c.type == "catch_clauses"):
            for clause in clauses.named_children:
                types = _child(clause, "catch_type_list")
                if types is None:
                    return _block(clause)
                names = [_text(t).strip("[]").lower() for t in types.named_children]
                if any(failure.type.lower() in (name, f"system.{name}") for name in names):
                    return _block(clause)
        return None

    def _do_flow_control_statement(self, node: Node) -> Iterator[Any]:
        word = node.children[0].type
        value = node.named_children[0] if node.named_children else None
        if word == "return":
            raise _Returned(list(self._outputs(value)) if value is not None else [])
        if word == "exit":
            raise Exited(int(self._value(value)) if value is not None else 0)
        if word == "throw" and value is None and self._caught:
            raise self._caught[-1]
        yield from self._unsupported(node)

    def _unsupported(self, node: Node) -> Iterator[Any]:
        raise Unsupported(_text(node))

    def _do_pipeline(self, node: Node) -> Iterator[Any]:
        (inner,) = node.named_children
        yield from self._outputs(inner)

    def _do_assignment_expression(self, node: Node) -> Iterator[Any]:
        self._assign(node)
        yield from ()

    def _do_pipeline_chain(self, node: Node) -> Iterator[Any]:
        if len(node.named_children) != 1:
            raise Unsupported(f"a pipe: {_text(node)}")
        yield from self._outputs(node.named_children[0])

    def _do_command(self, node: Node) -> Iterator[Any]:
        name = _field(node, "command_name")
        positional, named = self._arguments(_field(node, "command_elements", is_needed=False))
        function = self._functions.get(_text(name).lower())
        if function is not None:
            yield from self._invoke(function, positional, named)
            return
        given = self._around.command(_text(name), positional, named)
        if given is not VOID:
            yield from given if isinstance(given, list) else [given]

    def _invoke(self, function: Node, positional: list[Any], named: dict[str, Any]) -> Iterator[Any]:
        parameters = [
            _text(p)[1:].lower()
            for d in function.named_children
            if d.type == "function_parameter_declaration"
            for group in d.named_children
            for p in group.named_children
        ]
        if named or len(positional) > len(parameters):
            raise Unsupported("arguments by name, or too many")
        values = positional + [None] * (len(parameters) - len(positional))
        self._scopes.append(dict(zip(parameters, values, strict=True)))
        try:
            body = next(c for c in function.named_children if c.type == "script_block")
            given: list[Any] = []
            try:
                given.extend(self._outputs(body))
            except _Returned as returned:
                given += returned.outputs
        finally:
            self._scopes.pop()
        yield from given

    def _arguments(self, node: Node | None) -> tuple[list[Any], dict[str, Any]]:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        waiting = ""
        for child in node.named_children if node is not None else []:
            if child.type == "command_argument_sep":
                continue
            if child.type == "command_parameter":
                waiting = _text(child)[1:].lower()
                named[waiting] = True
                continue
            if child.type == "generic_token":
                value: Any = _text(child)
            elif child.type == "argument_list":
                value = self._list(child)
            else:
                value = self._value(child)
            if waiting and waiting not in _SWITCHES:
                named[waiting], waiting = value, ""
            else:
                positional.append(value)
        return positional, named

    def _assign(self, node: Node) -> None:
        target, sign, source = (c for c in node.named_children if c.type != "comment")
        given = self._value(source)
        value = None if given is VOID else given
        target = _unwrapped(target)
        if _text(sign) == "+=":
            value = add(self._value(target), value)
        elif _text(sign) != "=":
            raise Unsupported(_text(sign))
        if target.type == "variable":
            name = _text(target)[1:].lower()
            if name != "null":
                self._scopes[-1][name] = value
        elif target.type == "member_access":
            whole, member = target.named_children
            owner = self._value(whole)
            if isinstance(owner, Thing):
                owner.write(_text(member), value)
            elif isinstance(owner, dict):
                owner[_text(member).lower()] = value
            else:
                raise Unsupported(_text(target))
        else:
            raise Unsupported(_text(target))

    # -- values -----------------------------------------------------------------------------------

    def _value(self, node: Node) -> Any:
        node = _unwrapped(node)
        if node.type in _STATEMENTS:
            outputs = list(self._outputs(node))
            return outputs[0] if len(outputs) == 1 else outputs or None
        handler: Callable[[Node], Any] | None = getattr(self, "_of_" + node.type, None)
        if handler is None:
            raise Unsupported(f"{node.type}: {_text(node)[:80]}")
        return handler(node)

    def _of_variable(self, node: Node) -> Any:
        name = _text(node)[1:].lower()
        constants = {"true": True, "false": False, "null": None}
        if name in constants:
            return constants[name]
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return self._around.variable(name)

    def _of_integer_literal(self, node: Node) -> int:
        return int(_text(node), 0)

    def _of_string_literal(self, node: Node) -> str:
        (inner,) = node.named_children
        whole = _text(inner)
        if inner.type == "verbatim_string_characters":
            return whole[1:-1].replace("''", "'")
        if inner.type != "expandable_string_literal" or "`" in whole:
            raise Unsupported(whole)
        parts, at = [], inner.start_byte + 1
        source = inner.text or b""
        for child in inner.named_children:
            parts.append(source[at - inner.start_byte : child.start_byte - inner.start_byte].decode())
            parts.append(text(self._value(child)))
            at = child.end_byte
        return "".join([*parts, source[at - inner.start_byte : -1].decode()])

    def _of_sub_expression(self, node: Node) -> Any:
        return self._value(_field(node, "statements"))

    def _of_parenthesized_expression(self, node: Node) -> Any:
        (inner,) = node.named_children
        return self._value(inner)

    def _of_array_expression(self, node: Node) -> list[Any]:
        statements = _field(node, "statements", is_needed=False)
        return list(self._outputs(statements)) if statements is not None else []

    def _of_array_literal_expression(self, node: Node) -> list[Any]:
        return [self._value(child) for child in node.named_children]

    def _of_hash_literal_expression(self, node: Node) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for body in node.named_children:
            for entry in (c for c in body.named_children if c.type == "hash_entry"):
                key, value = (c for c in entry.named_children if c.type != "comment")
                made[_text(key).lower()] = self._value(value)
        return made

    def _of_expression_with_unary_operator(self, node: Node) -> Any:
        word = node.children[0].type
        value = self._value(node.named_children[-1])
        if word == "cast_expression":
            return value
        if word in ("-not", "!"):
            return not truth(value)
        if word == "-":
            return -value
        raise Unsupported(_text(node))

    def _of_cast_expression(self, node: Node) -> Any:
        kind, value = node.named_children
        return self._around.cast(_text(kind).strip("[]"), self._value(value))

    def _of_member_access(self, node: Node) -> Any:
        whole, member = node.named_children
        if whole.type == "type_literal":
            return self._around.static(_text(whole).strip("[]"), _text(member), None)
        return member_of(self._value(whole), _text(member))

    def _of_invokation_expression(self, node: Node) -> Any:
        whole, member, given = node.named_children
        arguments = self._list(given)
        if whole.type == "type_literal":
            return self._around.static(_text(whole).strip("[]"), _text(member), arguments)
        return called(self._value(whole), _text(member), arguments)

    def _list(self, node: Node) -> list[Any]:
        given = _field(node, "argument_expression_list", is_needed=False)
        if given is None:
            return []
        children = given.named_children if given.type == "argument_expression_list" else [given]
        return [self._value(child) for child in children]

    def _binary(self, node: Node) -> Any:
        left, *rest = node.children
        value = self._value(left)
        while rest:
            sign, right, *rest = rest
            word = _text(sign).lower()
            if word == "-and":
                value = truth(value) and truth(self._value(right))
            elif word == "-or":
                value = truth(value) or truth(self._value(right))
            else:
                value = operate(word, value, self._value(right))
        return value

    _of_logical_expression = _of_bitwise_expression = _of_comparison_expression = _binary
    _of_additive_expression = _of_logical_argument_expression = _of_bitwise_argument_expression = _binary
    _of_comparison_argument_expression = _of_additive_argument_expression = _binary


_SWITCHES: Final = frozenset({"compress"})
_STATEMENTS: Final = frozenset(
    {"pipeline", "pipeline_chain", "command", "statement_list", "statement_block", "assignment_expression"}
)


def _unwrapped(node: Node) -> Node:
    """The first node below that means something; the grammar has one level for each precedence."""
    while len(node.children) == 1 and node.named_children and node.type in _LEVELS:
        node = node.named_children[0]
    return node


_LEVELS: Final = frozenset(
    name + suffix
    for suffix in ("_expression", "_argument_expression")
    for name in (
        "logical", "bitwise", "comparison", "additive", "multiplicative", "format", "range", "array_literal",
        "unary", "left_assignment",
    )
) | {"argument_expression", "pipeline", "pipeline_chain", "while_condition"}  # fmt: skip


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _child(node: Node, kind: str) -> Node | None:
    return next((c for c in node.named_children if c.type == kind), None)


def _block(node: Node) -> Node:
    found = _child(node, "statement_block")
    assert found is not None
    return found


def _field(node: Node, name: str, *, is_needed: bool = True) -> Any:
    found = node.child_by_field_name(name)
    if found is None and is_needed:
        raise Unsupported(f"{node.type} without {name}")
    return found
