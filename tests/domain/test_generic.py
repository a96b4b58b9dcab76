"""A secret that belongs to no instance: kept, read, edited, deleted; never rotated or sent anywhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from rotation import accounts, binding, runs, schedules, tasks
from rotation.connectors import base
from rotation.inventory import management
from rotation.managed import credential_state, deletion, rebinding, resolution, restored, rotation_options
from rotation.models import Run, Schedule
from secrets_app import keyring, seals
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.integrity import seal_check
from secrets_app.keys import key_states, rewraps
from secrets_app.models import AuditEvent, DatabaseRestore, Secret, SecretVersion
from secrets_app.policy import decisions, grants
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle, value_lookup, versions
from tests import factories

pytestmark = pytest.mark.django_db

VALUE = "line one\nline two: a token of another system"
SENTENCE = "This secret belongs to no instance, so there is nothing to rotate."
OPTIONS = {"ends_sessions": True, "proves_old_refused": True, "reconciles": True}
OVER = base.Endpoint("127.0.0.1", 22, host_keys=("ssh-ed25519 AAAA",), wire="ssh")


@pytest.fixture
def token() -> Secret:
    return factories.generic_secret(name="partner/token", value=VALUE, tags={"team": "web"})


def by_whom() -> dict[str, object]:
    return {"actor": factories.administrator()}


def fresh(secret: Secret) -> Secret:
    return Secret.objects.get(pk=secret.pk)


# ---------------------------------------------------------------- kept


def test_a_generic_secret_has_no_kind_and_a_managed_one_has(open_keyring):
    region, actor = factories.region(), factories.administrator()
    for wrong in ({"type": "generic", "kind": "password"}, {"type": "ecs", "kind": ""}):
        with pytest.raises(ValueError, match="kind"):
            lifecycle.create("one", region=region, actor=actor, **wrong)
    kept, token = factories.secret(), factories.generic_secret()
    for row, wrong in ((kept, {"kind": ""}), (token, {"kind": "password"}), (token, {"type": "ecs"})):
        with pytest.raises(IntegrityError), transaction.atomic():
            Secret.objects.filter(pk=row.pk).update(**wrong)


def test_its_value_is_any_text_sealed_and_read_with_the_right_only(token, ann):
    version = token.labelled("current")
    assert VALUE.encode() not in bytes(version.sealed.ciphertext)
    assert versions.value(version).text.reveal() == VALUE
    assert versions.value(version).username == ""
    with pytest.raises(decisions.NotAllowed):
        versions.reveal(version, actor=ann.principal, reason="test")


@pytest.mark.django_db(transaction=True)
def test_its_reader_is_recorded_before_the_value_leaves(token, dot):
    value = versions.reveal(token.labelled("current"), actor=dot.principal, reason="test")
    assert value.credential.reveal() == VALUE
    event = AuditEvent.objects.get(action=Action.GET_SECRET_VALUE)
    assert (event.resource_id, event.actor, event.reason) == (token.pk, dot.principal, "test")
    assert fresh(token).last_read_by == dot.principal
    (found,) = value_lookup.look_up(Plaintext(VALUE), actor=dot.principal)
    assert found.secret == token


def test_it_is_edited_and_every_row_of_it_agrees_with_its_seal(token):
    lifecycle.edit(
        token,
        revision=token.revision,
        description="of a partner",
        tags={"team": "db"},
        password_policy=passwords.policy(token.password_policy),
        **by_whom(),
    )
    assert fresh(token).description == "of a partner"
    assert seals.holds(fresh(token))
    assert list(seal_check.broken()) == []


# ---------------------------------------------------------------- nothing to rotate

REFUSED = {
    "rotate": lambda token: runs.start(token, **by_whom()),
    "rotate to a value": lambda token: runs.start(token, value=Plaintext("another-1"), **by_whom()),
    "rotate back": lambda token: runs.start(token, from_version=token.labelled("current"), **by_whom()),
    "rotate by schedule": lambda token: runs.start(token, trigger=Run.Trigger.SCHEDULE, **by_whom()),
    "override": lambda token: runs.start(token, overrides=[min(base.OVERRIDABLE)], reason="x", **by_whom()),
    "verify": lambda token: runs.verify(token, **by_whom()),
    "reconcile": lambda token: runs.reconcile(token, **by_whom()),
    "drift": lambda token: runs.drift(token, **by_whom()),
    "give a schedule": lambda token: schedules.create(token, is_on=True, period=timedelta(days=7)),
    "change a schedule": lambda token: schedules.change(
        token, revision=1, is_on=True, period=timedelta(days=7), **by_whom()
    ),
    "options": lambda token: rotation_options.change_options(token, **OPTIONS, **by_whom()),
    "resolve": lambda token: resolution.resolve(token, decision="gone", reason="x", **by_whom()),
    "rebind": lambda token: rebinding.rebind([token], reason="x", stamp="", **by_whom()),
    "look at the binding": rebinding.proposal,
    "log in with": lambda token: management.log_in_with(
        factories.instance(), token, sudo="passwordless", **by_whom()
    ),
    "narrow a connection": lambda token: binding.narrowed(OVER, factories.instance(), [token]),
    "send": lambda token: binding.value(token.labelled("current"), over=OVER),
    "need the account": accounts.needed,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_an_account_is_refused_with_one_sentence_and_changes_nothing(token, name):
    with pytest.raises(accounts.Unmanaged) as refused, transaction.atomic():
        REFUSED[name](token)
    assert (refused.value.sentence, refused.value.code) == (SENTENCE, "secret_unmanaged")
    assert not Run.objects.exists()
    assert not Schedule.objects.exists()
    assert not AuditEvent.objects.filter(resource_id=token.pk).exists()
    assert versions.value(fresh(token).labelled("current")).text.reveal() == VALUE


def test_users_without_the_right_learn_no_more_than_of_another_secret(token, ann):
    for name in (runs.start, runs.reconcile, runs.drift):
        with pytest.raises(decisions.NotAllowed):
            name(token, actor=ann.principal)


def test_an_instance_does_not_log_in_with_it(token):
    with pytest.raises(management.NoOwnLogin, match="manages no account"):
        management.use_own_login(factories.instance(), token, sudo="passwordless", **by_whom())


def test_no_periodic_work_takes_it_up(token):
    assert schedules.due(10) == []
    assert credential_state.due_for_drift_check(timedelta(0)) == []
    assert not credential_state.verifiable().exists()
    tasks.start_due()
    assert not Run.objects.exists()


# ---------------------------------------------------------------- rights


def test_policies_grants_and_lists_reach_it_by_name_and_tag(token, ann, dot):
    assert not decisions.allows(ann.principal, Action.DESCRIBE_SECRET, token)
    grants.grant(token, ann, [Action.DESCRIBE_SECRET], actor=dot.principal)
    assert decisions.allows(ann.principal, Action.DESCRIBE_SECRET, token)
    for who in (ann, dot):
        seen = decisions.visible(who.principal, Action.DESCRIBE_SECRET, decisions.secret_rows())
        assert token in Secret.objects.filter(seen)


# ---------------------------------------------------------------- the end


def test_it_is_planned_for_deletion_and_restored_and_nothing_is_asked(token):
    deletion.plan_deletion(token, days=9, **by_whom())
    assert fresh(token).is_pending_deletion
    with pytest.raises(versions.NoValue):
        versions.reveal(fresh(token).labelled("current"), reason="test", **by_whom())
    found = deletion.restore(fresh(token), **by_whom())
    assert found == deletion.Restored(None, False, None)
    assert fresh(token).is_enabled
    assert versions.value(fresh(token).labelled("current")).text.reveal() == VALUE
    events = AuditEvent.objects.filter(resource_id=token.pk).order_by("sequence")
    assert [event.action for event in events] == ["kms:DeleteSecret", "kms:RestoreSecret"]


@pytest.mark.parametrize("is_due", [False, True])
def test_it_is_purged_with_its_values_and_its_grants(token, ann, dot, is_due):
    grants.grant(token, ann, [Action.DESCRIBE_SECRET], actor=dot.principal)
    if is_due:
        deletion.plan_deletion(token, **by_whom())
        Secret.objects.update(deletion_due_at=timezone.now() - timedelta(seconds=1))
        tasks.purge_due()
    else:
        deletion.purge(token, **by_whom())
    assert fresh(token).status == "deleted"
    assert not token.versions.filter(sealed__isnull=False).exists()
    assert not token.principal_grants.exists()
    factories.generic_secret(name=token.name)  # the name is free


# ---------------------------------------------------------------- keys, and an older database


def test_its_value_is_rewrapped_with_a_new_key_version(token):
    key = keyring.default_key()
    newer = key_states.new_version(key, **by_whom())
    work = rewraps.start(key, key, **by_whom())
    while rewraps.carry(work.pk):
        pass
    version = token.labelled("current")
    assert version.sealed.key_version == newer
    assert versions.value(version).text.reveal() == VALUE


def test_after_an_older_database_was_put_back_only_a_value_stored_since_is_beyond_doubt(token):
    assert not restored.may_be_old(token)
    at = timezone.now() + timedelta(minutes=1)
    asked = {"verify_asked_at": at, "verify_asked_by": factories.administrator()}
    restore = DatabaseRestore.objects.create(
        exported_to=9, exported_at=at, found_to=8, created_at=at, **asked
    )
    assert restored.may_be_old(token)
    credential_state.doubt_all()
    assert restored.progress(restore) == (0, 0)
    assert restored.verify_some(restore, 10) == []
    # It is read even so, as any other value is: with a warning.
    assert versions.value(token.labelled("current")).text.reveal() == VALUE
    SecretVersion.objects.update(created_at=at + timedelta(minutes=1))
    assert not restored.may_be_old(token)
