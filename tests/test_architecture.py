"""Who may import whom, held by parsing every module, imports inside functions included."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

#: One process reads each module once.
pytestmark = pytest.mark.xdist_group("sources")
ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("console", "rotation", "secrets_app", "lab")
KNOW_NOBODY = (
    "secrets_app.crypto.envelope",
    "secrets_app.crypto.passwords",
    "secrets_app.crypto.key_pairs",
    "secrets_app.crypto.plaintext",
    "secrets_app.errors",
)
ERRORS = "secrets_app.errors"
PLAINTEXT = "secrets_app.crypto.plaintext"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
#: The one room in a room: what is done differently for one kind of credential is a part of the engine.
PARTS = {"rotation.engine.methods": "rotation.engine"}


def modules() -> dict[str, Path]:
    found = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if ".migrations" not in name:
                found[name] = path
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Every module that `path` names in an import, and every name imported from one."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"import_module", "__import__"}:
            raise AssertionError(f"{path}: imports by name")
    return frozenset(found)


MODULES = modules()


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_its_room_may_know(name):
    for imported in imports(MODULES[name]):
        if within(name, "secrets_app"):
            assert not within(imported, "rotation"), imported
            assert not within(imported, "console"), imported
        if within(name, "rotation"):
            assert not within(imported, "console"), imported
            assert not within(imported, "rotation.tasks"), imported
        if within(name, "lab"):
            assert not any(within(imported, room) for room in ROOMS[:3]), imported
        if any(within(name, room) for room in ROOMS[:3]):
            assert not within(imported, "tests"), imported
            assert not within(imported, "lab") or name == "console.management.commands.demo", imported


@pytest.mark.parametrize("name", sorted(n for n in MODULES if within(n, "rotation.connectors")))
def test_a_connector_knows_no_django_and_no_secret_but_the_type_of_a_value(name):
    for imported in imports(MODULES[name]):
        assert not within(imported, "django"), imported
        assert not within(imported, "celery"), imported
        assert not within(imported, "secrets_app") or within(imported, PLAINTEXT), imported
        assert not within(imported, "rotation") or within(imported, "rotation.connectors"), imported


@pytest.mark.parametrize("name", KNOW_NOBODY)
def test_the_ciphers_know_nobody(name):
    for imported in imports(MODULES[name]):
        assert not within(imported, "django"), imported
        is_known = within(imported, PLAINTEXT) or within(imported, ERRORS)
        assert not any(within(imported, room) for room in ROOMS) or is_known, imported


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_a_library_does_not_promise_is_used_in_one_place(name):
    ours = (*ROOMS, "__future__")
    for imported in imports(MODULES[name]):
        if not any(within(imported, package) for package in ours):
            is_private = ".internal" in imported or any(part.startswith("_") for part in imported.split("."))
            assert not is_private or name == "console.private_apis", imported


def room_of(name: str) -> str:
    """The folder that a module stands in, or the module itself on a package's own level."""
    if MODULES[name].name == "__init__.py":
        return PARTS.get(name, name)
    folder = name.rpartition(".")[0]
    return PARTS.get(folder, folder) if "." in folder else name


@functools.cache
def listed_rooms() -> list[str]:
    """The rooms of docs/architecture.md, in its order."""
    return re.findall(r"^\| `([a-z_.]+)` \|", ARCHITECTURE.read_text(), re.MULTILINE)


def test_the_architecture_page_lists_every_room_once():
    rooms = {
        room_of(name)
        for name, path in MODULES.items()
        if name not in ROOMS
        and not name.endswith("__main__")
        and (path.name != "__init__.py" or list(path.parent.glob("[a-z]*.py")))
    }
    assert sorted(listed_rooms()) == sorted(rooms - {"console.management"})


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n not in ROOMS and n != "lab.__main__"))
def test_a_module_imports_only_its_own_room_and_those_listed_before(name):
    order = {room: number for number, room in enumerate(listed_rooms())}
    mine = room_of(name)
    for imported in imports(MODULES[name]):
        if imported in MODULES and imported not in ROOMS and (theirs := room_of(imported)) in order:
            same = imported.split(".")[0] == name.split(".")[0]
            assert theirs == mine or not same or order[theirs] < order[mine], f"{name} imports {imported}"


def test_a_domain_package_holds_no_screen():
    for room in ("rotation", "secrets_app"):
        names = {path.stem for path in (ROOT / room).rglob("*.py")}
        assert not names & {
            "views",
            "forms",
            "urls",
            "templatetags",
            "services",
            "utils",
            "helpers",
            "common",
        }
        assert not list((ROOT / room).rglob("*.html"))


def test_every_module_says_what_it_is_responsible_for():
    trees = {name: tree(path) for name, path in MODULES.items()}
    assert not [name for name, found in trees.items() if found.body and not ast.get_docstring(found)]


def test_each_table_is_written_by_the_module_that_says_so():
    """A module that calls a writing method on a model's manager is that model's writer, or in its room."""
    writers = {
        "Account": "secrets_app.regions", "Region": "secrets_app.regions",
        # The seals of the sets around a user, a principal and a secret stand in their rows.
        "User": ("secrets_app.people.users", "secrets_app.seal_sets"), "GroupSeal": "secrets_app.seal_sets",
        "ChangedRecord": "secrets_app.integrity.seal_check",
        "Principal": (
            "secrets_app.people.users", "secrets_app.people.machines", "secrets_app.seal_sets",
        ),
        # The set-up makes the first key, before there is anybody who could be asked.
        "Key": ("secrets_app.keys.key_states", "secrets_app.keyring"),
        "KeyVersion": ("secrets_app.keys.key_states", "secrets_app.keyring"),
        "SealedValue": "secrets_app.keyring", "Rewrap": "secrets_app.keys.rewraps",
        "RootKeyMove": "secrets_app.keys.root_key_moves",
        "AccessKey": "secrets_app.people.access_keys",
        "Invitation": "secrets_app.people.invitations", "SocialAccount": "secrets_app.people.identities",
        "SecretVersion": "secrets_app.secrets.versions", "Label": "secrets_app.secrets.versions",
        "Tag": "secrets_app.secrets.lifecycle",
        "Secret": ("secrets_app.secrets.lifecycle", "secrets_app.seal_sets"),
        "AuditEvent": "secrets_app.audit.trail",
        "AuditHead": "secrets_app.audit.trail", "AuditCheckpoint": "secrets_app.audit.checkpoints",
        "Refusals": "secrets_app.audit.refusals", "DatabaseRestore": "secrets_app.integrity.restores",
        "Instance": "rotation.inventory", "HostKey": "rotation.inventory",
        "ManagementCredential": "rotation.inventory.management",
        "ManagedAccount": ("rotation.managed", "rotation.binding"),
        "Schedule": "rotation.schedules", "Chore": "rotation.chores",
        "Run": ("rotation.runs", "rotation.leases", "rotation.cancelling", "rotation.missed"),
        "BulkAction": "rotation.bulk.bulk_actions", "BulkItem": "rotation.bulk.bulk_actions",
        "Step": ("rotation.runs", "rotation.leases", "rotation.cancelling"),
    }  # fmt: skip
    writing = {
        "create",
        "bulk_create",
        "update",
        "delete",
        "get_or_create",
        "update_or_create",
        "bulk_update",
    }
    strangers = []
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in writing
            ):
                model = _model_of(node.func.value)
                mine = writers.get(model, name)
                if not any(within(name, one) for one in ((mine,) if isinstance(mine, str) else mine)):
                    strangers.append(f"{name} writes {model}, line {node.lineno}")
    assert not strangers


def _model_of(node: ast.AST) -> str:
    """The model at the root of `Model.objects.filter(...)...`, or nothing."""
    while isinstance(node, ast.Attribute | ast.Call):
        if isinstance(node, ast.Attribute) and node.attr == "objects" and isinstance(node.value, ast.Name):
            return node.value.id
        node = node.func if isinstance(node, ast.Call) else node.value
    return ""


def test_the_name_of_a_resource_is_composed_in_one_place():
    """An ARN that a policy is matched against is never put together by hand."""
    found = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr) and ast.unparse(node)[2:].startswith("acs:")
    }
    assert found == {"secrets_app.actions"}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if within(n, "console.fetching")))
def test_what_is_fetched_by_principal_knows_no_request(name):
    for imported in imports(MODULES[name]):
        is_http = any(within(imported, module) for module in ("django.http", "django.core", "django.urls"))
        assert not is_http, f"{name} imports {imported}"
        assert not within(imported, "console") or within(imported, "console.fetching"), imported


def test_one_module_of_the_tests_starts_browsers():
    """Playwright allows one driver in a thread, and each process of the tests keeps its own to the end."""
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"\bsync_playwright\(", path.read_text())
    }
    assert found == {"tests/chromium.py"}
