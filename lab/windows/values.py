"""The values of the small part of PowerShell that is modelled, and what its operators make of them.

What is not modelled raises `Unsupported`, which no script can catch. After the specification of the language,
version 3.0; it was never compared with a real PowerShell.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

#: What a call gives that gives nothing: not even `$null`.
VOID: Final = object()


class Unsupported(BaseException):
    """The script uses something that is not modelled. No script can handle this."""


class Killed(BaseException):
    """The process was ended from outside."""


class Failure(Exception):
    """An error as a script can catch it."""

    def __init__(self, type_: str, *, hresult: int = 0, id_: str = "", number: int = 0) -> None:
        super().__init__(type_)
        self.type = type_
        self.hresult = hresult - (1 << 32) if hresult >= 1 << 31 else hresult
        self.id = id_ or type_
        self.number = number


class Thing:
    """An object of .NET: its members are methods of Python, in lower case. All others are unsupported."""

    TYPE = "System.Object"

    def read(self, name: str) -> Any:
        """The value of a property."""
        found = getattr(type(self), "p_" + name.lower(), None)
        if found is None:
            raise Unsupported(f"{self.TYPE}.{name}")
        return found(self)

    def write(self, name: str, value: Any) -> None:
        """Give a property another value."""
        found = getattr(type(self), "s_" + name.lower(), None)
        if found is None:
            raise Unsupported(f"{self.TYPE}.{name} =")
        found(self, value)

    def call(self, name: str, arguments: list[Any]) -> Any:
        """The result of a method."""
        found = getattr(type(self), "m_" + name.lower(), None)
        if found is None:
            raise Unsupported(f"{self.TYPE}.{name}()")
        return found(self, *arguments)


class Plain(Thing):
    """An object with properties only."""

    def __init__(self, **properties: Any) -> None:
        self._properties = properties

    def read(self, name: str) -> Any:
        if name.lower() not in self._properties:
            raise Unsupported(name)
        return self._properties[name.lower()]


class ErrorRecord(Thing):
    """`$_` in a catch block."""

    TYPE = "System.Management.Automation.ErrorRecord"

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def p_exception(self) -> Any:
        return _Caught(self.failure)

    def p_fullyqualifiederrorid(self) -> str:
        return self.failure.id


class _Caught(Thing):
    TYPE = "System.Exception"

    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def p_innerexception(self) -> None:
        return None

    def p_hresult(self) -> int:
        return self.failure.hresult

    def p_errorcode(self) -> int:
        return self.failure.number

    def m_gettype(self) -> Any:
        return _Type(self.failure.type)


class _Type(Thing):
    TYPE = "System.Type"

    def __init__(self, name: str) -> None:
        self.name = name

    def p_fullname(self) -> str:
        return self.name


_COMPARISONS: Final = {"-lt": operator.lt, "-gt": operator.gt, "-le": operator.le, "-ge": operator.ge}


def truth(value: Any) -> bool:
    """Whether a condition with this value holds."""
    if isinstance(value, list):
        return len(value) > 1 or (len(value) == 1 and truth(value[0]))
    return isinstance(value, Thing | dict) or bool(value)


def text(value: Any) -> str:
    """A value as part of a string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str | int):
        return str(value)
    raise Unsupported(f"a string of {type(value).__name__}")


def add(left: Any, right: Any) -> Any:
    """The sum, by the type of what stands to the left."""
    if isinstance(left, list):
        return [*left, *(right if isinstance(right, list) else [right])]
    if isinstance(left, str):
        return left + text(right)
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    raise Unsupported(f"{type(left).__name__} + {type(right).__name__}")


def member_of(owner: Any, name: str) -> Any:
    """A property of any value; of `$null` it is `$null`."""
    if owner is None:
        return None
    if isinstance(owner, dict):
        return owner.get(name.lower())
    if isinstance(owner, Thing):
        return owner.read(name)
    raise Unsupported(f"{type(owner).__name__}.{name}")


def called(owner: Any, name: str, arguments: list[Any]) -> Any:
    """What a method of any value gives. Raises `Failure` for `$null`."""
    if owner is None:
        raise Failure("System.Management.Automation.RuntimeException", id_="InvokeMethodOnNull")
    if isinstance(owner, Thing):
        return owner.call(name, arguments)
    if isinstance(owner, str) and name.lower() == "endswith" and len(arguments) == 1:
        return owner.endswith(arguments[0])
    if isinstance(owner, str) and name.lower() == "tochararray" and not arguments:
        return list(owner)
    raise Unsupported(f"{type(owner).__name__}.{name}()")


def operate(word: str, left: Any, right: Any) -> Any:
    """What an operator that looks at both sides makes of two values."""
    if word == "+":
        return add(left, right)
    if word == "-band":
        return int(left or 0) & int(right)
    if word == "-split":
        return re.split(right, text(left))
    if word == "-contains":
        items = left if isinstance(left, list) else [left]
        return any(_same(item, right) for item in items)
    if word == "-notcontains":
        return not operate("-contains", left, right)
    if word in ("-eq", "-ne"):
        return _same(left, right) == (word == "-eq")
    if word in ("-ceq", "-cne"):
        return (left == right) == (word == "-ceq")
    if word in _COMPARISONS:
        compare: Callable[[Any, Any], bool] = _COMPARISONS[word]
        return compare(left or 0, right or 0)
    raise Unsupported(word)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    return bool(left == right)
