"""AUD-01: every route that changes something or hands out a value leaves its one event, and no other does.

The table below is held to the URL tree: a route that stands in no row fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from rotation import leases, managed, runs
from rotation.connectors import base
from rotation.models import Run
from secrets_app import keypairs, versions
from secrets_app.models import AuditEvent, Secret
from secrets_app.plaintext import Plaintext
from tests import factories
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
NEW_PASSWORD = "a phrase that only she knows"


@dataclass
class Call:
    """What is sent to a route, and the actions that the trail then tells of, in this order."""

    args: list[Any] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    actions: tuple[str, ...] = ()
    method: str = "post"


def secret(**given: Any) -> Secret:
    made = factories.secret(**({"initial": "a-first-value-1"} | given))
    factories.settle(made)
    return made


def of_secret(*actions: str, **given: Any) -> Callable[[], Call]:
    return lambda: Call(["main", secret().pk], given, actions)


def rotate_back() -> Call:
    made = secret()
    old = made.labelled("current")
    new = versions.Value("svc", password=Plaintext("another-value-22"))
    versions.promote(versions.stage(made, new, origin="generated", actor=factories.administrator()))
    return Call(["main", made.pk, old.pk], {"token": "t"}, ("kms:RotateSecret",))


def download() -> Call:
    key = keypairs.generate("ed25519").private_key.reveal()
    made = secret(kind="key_pair", key_algorithm="ed25519", initial=key, username="git")
    return Call(["main", made.pk], {"reason": "on call"}, ("kms:GetSecretValue",))


def create() -> Call:
    instance = factories.instance(name="web-main")
    given = {
        "type": "ecs", "name": "web/svc", "instance": instance.name, "username": "svc", "kind": "password",
        "value": "a-first-value-1", "length": "32", "sets": ["lower", "upper", "digits"], "excluded": "",
        "description": "", "tags": "", "rotation": "on", "period": "7", "unit": "days",
    }  # fmt: skip
    return Call(["main"], given, ("kms:CreateSecret",))


def edit() -> Call:
    given = {
        "revision": "1", "description": "new", "tags": "", "length": "32", "excluded": "",
        "sets": ["lower", "upper", "digits"],
    }  # fmt: skip
    return Call(["main", secret().pk], given, ("kms:UpdateSecret",))


def schedule() -> Call:
    made = secret()
    given = {"rotation": "on", "period": "7", "unit": "days", "revision": str(made.schedule.revision)}
    return Call(["main", made.pk], given, ("kms:UpdateSecretRotationPolicy",))


def restore() -> Call:
    made = secret()
    managed.plan_deletion(made, actor=factories.administrator())
    return Call(["main", made.pk], {}, ("kms:RestoreSecret",))


def register() -> Call:
    given = {"name": "web-1", "os": "linux", "address": "10.0.0.5", "port": "22"}
    return Call(["main"], given, ("kms:RegisterInstance", "kms:CheckInstance"))


def change_instance() -> Call:
    made = factories.instance()
    given = {"name": "new-name", "address": made.address, "port": "22", "revision": made.revision}
    return Call(["main", made.pk], given, ("kms:UpdateInstance",))


def approve() -> Call:
    key = base.HostKey("ssh-ed25519", "AAAA1", "SHA256:one")
    made = factories.instance(keys=[key], approved=False)
    return Call(
        ["main", made.pk], {"fingerprints": [key.fingerprint]}, ("kms:ApproveHostKey", "kms:CheckInstance")
    )


def attach() -> Call:
    given = {"credential": str(factories.credential().pk)}
    actions = ("kms:UseManagementCredential", "kms:CheckInstance")
    return Call(["main", factories.instance().pk], given, actions)


def cancel() -> Call:
    run = runs.start(secret(), actor=factories.administrator())
    return Call(["main", run.pk], {}, ("kms:RotationEnded",))


def retry() -> Call:
    run = runs.start(secret(), actor=factories.administrator())
    lease = leases.claim(run.pk, "host/1/2")
    leases.end(lease, Run.Outcome.FAILED, truth="old", code="policy", sentence="The host said no.")
    return Call(["main", run.pk], {}, ("kms:RotateSecret",))


def export(*args: str, action: str) -> Callable[[], Call]:
    return lambda: Call(list(args), {}, (action,), "get")


CREDENTIAL = {"name": "fleet", "username": "keyturn", "login": "own", "sudo": "passwordless"}
CHANGES: dict[str, Callable[[], Call]] = {
    "secret_create": create,
    "secret_rotate": of_secret("kms:RotateSecret", reason="routine"),
    "secret_rotate_back": rotate_back,
    "secret_reveal": of_secret("kms:GetSecretValue", reason="on call"),
    "secret_download": download,
    "secret_edit": edit,
    "secret_schedule": schedule,
    "secret_delete": of_secret("kms:DeleteSecret", how="plan", days="30", reason="gone"),
    "secret_restore": restore,
    "credential_create": lambda: Call([], CREDENTIAL, ("kms:CreateManagementCredential",)),
    "instance_register": register,
    "instance_edit": change_instance,
    "instance_scan": lambda: Call(["main", factories.instance().pk], {}, ("kms:CheckInstance",)),
    "instance_check": lambda: Call(["main", factories.instance().pk], {}, ("kms:CheckInstance",)),
    "instance_approve": approve,
    "instance_attach": attach,
    "run_cancel": cancel,
    "run_retry": retry,
    "secrets_export": export("main", action="kms:ExportSecrets"),
    "instances_export": export("main", action="kms:ExportInstances"),
    "rotations_export_csv": export("main", action="kms:ExportRotations"),
    "rotations_export_json": export("main", action="kms:ExportRotations"),
    "audit_export_csv": export(action="kms:ExportAuditEvents"),
    "audit_export_json": export(action="kms:ExportAuditEvents"),
    "audit_verify": lambda: Call([], {}, ("kms:VerifyAuditTrail",)),
    "audit_look_up": lambda: Call([], {"text": "anything"}, ("kms:LookUpValue",)),
    "account_logout": lambda: Call([], {}, ("kms:SignOut",)),
    "account_change_password": lambda: Call(
        [],
        {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD},
        ("kms:ChangePassword",),
    ),
}


def one_secret() -> list[Any]:
    return ["main", secret().pk]


def one_instance() -> list[Any]:
    return ["main", factories.instance().pk]


def one_run() -> list[Any]:
    return ["main", runs.start(secret(), actor=factories.administrator()).pk]


#: What only looks, or only moves the end of one's own session: by GET, and by POST where it takes one.
READS: dict[str, Callable[[], list[Any]]] = {
    "healthz": list,
    "account_inactive": list,
    "session": list,
    "session_stay": list,
    "home": list,
    "get_started": list,
    "overview": lambda: ["all"],
    "credentials": list,
    "credential": lambda: [factories.credential().pk],
    "secrets": lambda: ["all"],
    "secret_create_instance": lambda: ["main"],
    "secret_create_dates": lambda: ["main"],
    "secret_create_key": lambda: ["main"],
    "secret": one_secret,
    "secret_schedule_dates": one_secret,
    "instances": lambda: ["all"],
    "instance": one_instance,
    "instance_live": one_instance,
    "rotations": lambda: ["all"],
    "run": one_run,
    "run_steps": one_run,
    "audit": list,
    "audit_event": lambda: [1],
}
#: Nobody is signed in yet: in a test of its own, below.
SIGN_IN = {"account_login"}


def recorded(after: int) -> list[tuple[str, str]]:
    rows = AuditEvent.objects.filter(sequence__gt=after).order_by("sequence")
    return list(rows.values_list("action", "outcome"))


def top() -> int:
    return AuditEvent.objects.values_list("sequence", flat=True).first() or 0


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def send(client: Client, name: str, call: Call) -> Any:
    answer = getattr(client, call.method)(reverse(name, args=call.args), call.given)
    if answer.streaming:
        b"".join(answer.streaming_content)
    return answer


def test_aud_01_every_route_stands_in_one_of_the_tables():
    routes = {pattern.name for pattern in get_resolver().url_patterns}
    assert routes == {*CHANGES, *READS, *SIGN_IN}
    assert not set(CHANGES) & set(READS)


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_aud_01_a_deed_leaves_its_event_and_no_other(name, dot):
    client, call = signed_in(dot), CHANGES[name]()
    before = top()
    answer = send(client, name, call)
    assert answer.status_code in {200, 302}, answer.content[:2000]
    assert sorted(recorded(before)) == sorted((action, "succeeded") for action in call.actions)


OF_ANYBODY = {"account_logout", "account_change_password", "audit_verify"}
READ_BY_AUDITORS = {name for name in CHANGES if "export" in name}


@pytest.mark.parametrize("name", sorted({*CHANGES} - OF_ANYBODY - READ_BY_AUDITORS))
def test_aud_01_a_deed_that_is_refused_leaves_one_event_that_says_so(name, aud):
    client, call = signed_in(aud), CHANGES[name]()
    before = top()
    assert send(client, name, call).status_code == 403
    ((action, outcome),) = recorded(before)
    assert outcome == "denied"
    assert action in {*call.actions, "kms:RotateSecret", "kms:UseManagementCredential", "kms:CheckInstance"}
    assert AuditEvent.objects.first().decision


@pytest.mark.parametrize("name", sorted(READS))
@pytest.mark.parametrize("method", ["get", "head", "post"])
def test_aud_01_looking_leaves_no_event(name, method, dot):
    client, args = signed_in(dot), READS[name]()
    before = top()
    getattr(client, method)(reverse(name, args=args), headers=HTMX)
    assert recorded(before) == []


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_aud_01_asking_for_the_form_leaves_no_event(name, dot):
    call = CHANGES[name]()
    if call.method == "post":
        client = signed_in(dot)
        before = top()
        client.get(reverse(name, args=call.args), headers=HTMX)
        assert recorded(before) == []


def test_aud_01_signing_in_leaves_one_event(client, dot):
    before = top()
    client.post(reverse("account_login"), {"login": "dot", "password": PASSWORD})
    assert recorded(before) == [("kms:SignIn", "succeeded")]
