"""A password that a user chooses meets the password policy, or a user with that right says why not."""

from __future__ import annotations

import pytest

from rotation import runs
from secrets_app.actions import Action
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent
from secrets_app.policy import decisions
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import OLD, drive, password, rotate

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]

WEAK = Plaintext("a")


def test_a_value_that_breaks_the_password_policy_reaches_no_host(secret, host):
    with pytest.raises(passwords.OffPolicy, match="at least 32 characters") as refused:
        rotate(secret, value=WEAK)
    assert "upper-case" in str(refused.value)
    assert not secret.runs.exists()
    assert not AuditEvent.objects.filter(action=Action.OVERRIDE_POLICY).exists()
    assert host.sets == 0


def test_the_policy_is_the_secrets_own(secret, host):
    secret.password_policy = passwords.Policy(length=14, sets=("lower",), excluded="x").as_json()
    secret.save()
    run = drive(rotate(secret, value=Plaintext("only-lower-case".replace("-", "z"))), host)
    assert run.outcome == "succeeded", run.sentence
    with pytest.raises(passwords.OffPolicy, match="excludes these characters: x"):
        rotate(secret, value=Plaintext("onlyxlowerxcase"))


def test_an_override_of_the_policy_is_recorded_and_kept_with_the_version(secret, host):
    run = drive(rotate(secret, value=WEAK, overrides_policy=True, reason=" an old device "), host)
    assert run.outcome == "succeeded", run.sentence
    assert host.accounts["svc"].password == password(secret) == "a"
    current = secret.labelled("current")
    assert "at least 32 characters" in current.policy_breach
    assert current.breach_reason == run.reason == "an old device"
    event = AuditEvent.objects.get(action="kms:OverridePasswordPolicy")
    assert (event.reason, event.details["run"]) == ("an old device", str(run.pk))
    assert event.details["because"] == current.policy_breach


def test_an_override_of_the_policy_needs_a_right_of_its_own(secret):
    factories.deny(Action.OVERRIDE_POLICY)
    with pytest.raises(decisions.NotAllowed):
        rotate(secret, value=WEAK, overrides_policy=True, reason="because")
    assert not secret.runs.exists()
    # A value that breaks no rule needs none.
    assert rotate(secret, value=passwords.Policy().generate(), overrides_policy=True).version


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_override_of_the_policy_needs_a_reason(secret, reason):
    with pytest.raises(runs.NoReason):
        rotate(secret, value=WEAK, overrides_policy=True, reason=reason)
    assert not secret.runs.exists()


def test_a_value_that_meets_the_policy_is_not_said_to_break_it(secret, host):
    drive(rotate(secret, value=passwords.Policy().generate(), overrides_policy=True, reason="x"), host)
    current = secret.labelled("current")
    assert (current.policy_breach, current.breach_reason) == ("", "")
    assert not AuditEvent.objects.filter(action=Action.OVERRIDE_POLICY).exists()


def test_what_a_host_misreads_is_refused_whoever_overrides_the_policy(secret):
    with pytest.raises(passwords.Unfit, match="line break"):
        rotate(secret, value=Plaintext("two\nlines"), overrides_policy=True, reason="because")


def test_the_value_at_creation_is_what_the_host_has_and_is_only_marked(secret):
    assert password(secret) == OLD
    assert "at least 32 characters" in secret.labelled("current").policy_breach


def test_a_private_key_has_no_password_policy():
    made = factories.secret(kind="key_pair", key_algorithm="ed25519")
    pair = versions.key_pairs.generate("ed25519")
    run = rotate(made, value=pair.private_key)
    assert run.version.policy_breach == ""
