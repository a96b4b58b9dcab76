"""Every error of the domain has one root and a code of its own, so that a face finds it by one table."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter

import pytest

from console.views.secrets import wizard
from rotation.connectors import base
from secrets_app.errors import DomainError
from tests.test_architecture import MODULES, within

#: What no face ever answers with, and why.
INNER = {
    "secrets_app.audit.trail.NotRecorded",  # the database's own error: answered as 503 wherever it comes from
    "secrets_app.audit.verification._Broken",  # becomes a line of the report in the same module
    "secrets_app.root_keys.token._NotThere",  # becomes `Unavailable` in the same module
    "secrets_app.root_keys.transit._Refused",  # the same
    "rotation.engine.work.Stop",  # ends the work of one worker, when the row says already why
    "rotation.engine.work.Arrived",  # caught by the engine, which makes the value current
}


def errors() -> list[type[BaseException]]:
    """The exception classes of both domain packages; a connector's tell of a host, and have codes already."""
    found = []
    for name in MODULES:
        is_domain = within(name, "secrets_app") or within(name, "rotation")
        if is_domain and not within(name, "rotation.connectors"):
            for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
                if issubclass(kind, BaseException) and kind.__module__ == name:
                    found.append(kind)
    return found


def name_of(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def test_every_error_of_the_domain_is_a_domain_error():
    strangers = {
        name_of(kind) for kind in errors() if not issubclass(kind, DomainError | base.ConnectorError)
    }
    assert strangers == INNER


def test_every_domain_error_has_a_code_that_no_other_class_has():
    kinds = [kind for kind in errors() if issubclass(kind, DomainError) and kind is not DomainError]
    assert [name_of(kind) for kind in kinds if "code" not in vars(kind)] == []
    counted = Counter(kind.code for kind in kinds)
    assert [code for code, count in counted.items() if count > 1] == []
    assert [code for code in counted if not code.replace("_", "").islower()] == []


def test_an_error_without_words_says_its_docstring():
    class Late(DomainError):
        """It is too late for this.

        Why, for whoever reads the code.
        """

    assert Late().sentence == str(Late()) == "It is too late for this."
    assert Late("Not today.").sentence == "Not today."


@pytest.mark.parametrize("kind", wizard.FIELD_OF)
def test_each_field_that_the_wizard_says_an_error_at_is_one_of_its_form(kind):
    assert wizard.FIELD_OF[kind] in {name for names in wizard.STEPS for name in names}
