"""`./keyturn access-key`: a key for a program from a shell, as a user and with that user's rights."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AccessKey, AuditEvent, Principal
from tests import factories, sigv4

pytestmark = pytest.mark.django_db


def run(*words: str) -> dict[str, Any]:
    out = StringIO()
    call_command("access_key", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_program_gets_a_machine_a_policy_and_a_key_that_works_until_it_is_disabled(dot):
    factories.generic_secret(name="app/db", value="correct-horse-1")
    [made] = run("create", "shop", "--policy", "SecretUser", "--as", "dot")["keys"]
    client = sigv4.Signer(made["id"], Plaintext(made["secret"]))
    status, answer = client.call("GetSecretValue", SecretId="app/db")
    assert (status, answer.get("SecretString")) == (200, "correct-horse-1")
    [listed] = run("list", "shop", "--as", "dot")["keys"]
    assert (listed["id"], listed["enabled"], "secret" in listed) == (made["id"], True, False)
    assert listed["last_used"]
    run("disable", made["id"], "--as", "dot")
    assert client.call("GetSecretValue", SecretId="app/db")[0] == 400
    assert made["secret"] not in json.dumps(list(AuditEvent.objects.values_list("details", flat=True)))
    # A second key of the same machine.
    run("create", "shop", "--network", "10.0.0.0/8", "--expires", "2099-01-31T12:00:00+00:00", "--as", "dot")
    assert Principal.objects.filter(name="shop").count() == 1
    assert AccessKey.objects.filter(principal__name="shop").count() == 2


def test_a_user_without_the_right_makes_nothing_and_a_wrong_word_is_told(dot):
    factories.user("ann")
    for words, told in (
        (("create", "shop", "--as", "ann"), "No policy"),
        (("create", "shop", "--as", "nobody"), "There is no user nobody"),
        (("create", "shop", "--policy", "None", "--as", "dot"), "There is no policy None"),
        (("create", "shop", "--network", "x", "--as", "dot"), "not an address range"),
        (("list", "shop", "--as", "dot"), "There is no user or machine shop"),
        (("disable", "AKIAX", "--as", "dot"), "deleted"),
        (("create", "shop", "--expires", "2099-01-31", "--as", "dot"), "expires"),
    ):
        with pytest.raises(CommandError, match=told):
            run(*words)
    assert not AccessKey.objects.exists()
    assert not Principal.objects.filter(name="shop").exists()


def test_a_key_is_enabled_again_and_deleted_once_nothing_can_use_it(dot):
    factories.generic_secret(name="app/db", value="correct-horse-1")
    [made] = run("create", "shop", "--policy", "SecretUser", "--as", "dot")["keys"]
    client = sigv4.Signer(made["id"], Plaintext(made["secret"]))
    run("disable", made["id"], "--as", "dot")
    [shown] = run("enable", made["id"], "--as", "dot")["keys"]
    assert shown["enabled"]
    assert client.call("GetSecretValue", SecretId="app/db")[0] == 200
    factories.user("ann")
    for words, told in (
        (("delete", made["id"], "--as", "dot"), "Disable it first"),
        (("delete", made["id"], "--as", "ann"), "No policy"),
        (("enable", made["id"], "--as", "ann"), "No policy"),
    ):
        with pytest.raises(CommandError, match=told):
            run(*words)
    run("disable", made["id"], "--as", "dot")
    assert run("delete", made["id"], "--as", "dot")["deleted"] == made["id"]
    assert not AccessKey.objects.exists()
