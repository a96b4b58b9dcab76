"""A site with everything twice, its own and a foreign one, and people who may reach the one or both.

What is `own` stands in region main, or its name begins with `own-`; what is `foreign` stands in region west,
or its name begins with `foreign-`. A request goes through all of the middleware and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from allauth.mfa.webauthn.internal.auth import WebAuthn
from allauth.usersessions.models import UserSession
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.handlers.base import BaseHandler
from django.db import transaction
from django.http.response import HttpResponseBase
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from fido2 import webauthn
from fido2.cose import ES256
from fido2.utils import websafe_encode

from console.sessions import expiry
from console.sessions.store import Name
from rotation import instance_checks, leases, runs
from rotation.inventory import management
from rotation.managed import credential_state, deletion
from rotation.models import BulkAction, BulkItem, Instance, ManagedAccount, Run
from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states
from secrets_app.models import Attachment, AuditEvent, Secret, User
from secrets_app.people import access_keys, invitations, machines, users
from secrets_app.policy import grants, policies
from secrets_app.secrets import versions
from tests import factories, messages, notices_rows, sessions
from tests.factories import PASSWORD

REGIONS = {"own": "main", "foreign": "west"}
NOBODY = UUID(int=0)
NO_NUMBER = 2**70  # no row has it, and no column could
HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "rows"}
#: What a policy names that is about all that is `own`, and about the lists of what belongs to no region.
OWN_RESOURCES = [
    "acs:kms:main:*:*",
    "acs:kms::*:*/own-*",
    *(
        f"acs:kms::*:{kind}"
        for kind in ("credential", "key", "user", "group", "policy", "audit", "region", "settings")
    ),
    "acs:kms::*:region/main",
]

Args = dict[str, Any]


@dataclass
class World:
    """Whose cookie is whose, and which arguments name which object for whom."""

    cookies: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)  # signed in too long ago for what asks again
    objects: dict[str, dict[str, Args]] = field(default_factory=lambda: {"own": {}, "foreign": {}})
    personal: dict[tuple[str, str], int | UUID] = field(default_factory=dict)
    bodies: dict[str, dict[str, str]] = field(default_factory=dict)  # where an empty one names no object

    def args(self, kind: str, which: str, person: str) -> Args:
        """The arguments of a URL; `which` is own, foreign, missing, misplaced, part or all."""
        if not kind:
            return {}
        if kind in {"session", "passkey", "bulk"}:
            whose = {"own": person, "foreign": "other"}.get(which, "")
            return {"pk": self.personal.get((kind, whose), NOBODY if kind == "bulk" else NO_NUMBER)}
        if kind == "region":
            return {"region": {**REGIONS, "missing": "nowhere"}.get(which, which)}
        # What is not there is asked for beside what is foreign: the two answers must look the same.
        found = self.objects["foreign" if which in {"foreign", "missing"} else "own"][kind]
        if which == "missing":
            return {name: _nothing(name, value) for name, value in found.items()}
        if which == "misplaced":
            return found | {"region": REGIONS["foreign"]}
        if which == "part":
            last = list(found)[-1]
            return found | {last: _nothing(last, found[last])}
        return found


def _nothing(name: str, value: object) -> object:
    if isinstance(value, UUID):
        return NOBODY
    return value if name == "region" else NO_NUMBER


# ---------------------------------------------------------------- asking


_handler = BaseHandler()


class _Undone(Exception):
    """What was done in the block is taken back."""


@contextlib.contextmanager
def undone() -> Iterator[None]:
    """Take back all that is written in the block."""
    block = transaction.atomic()
    # To the code inside it is no transaction: some of it refuses to run in one.
    block._from_testcase = True
    with contextlib.suppress(_Undone), block:
        yield
        raise _Undone
    messages.forget()  # what was counted in a Redis would add up


def ask(
    path: str, method: str, *, cookie: str = "", given: dict[str, Any] | None = None, **headers: str
) -> HttpResponseBase:
    """Send one request and take back all that it did."""
    with undone():
        return do(path, method, cookie=cookie, given=given, **headers)


def do(
    path: str, method: str, *, cookie: str = "", given: dict[str, Any] | None = None, **headers: str
) -> HttpResponseBase:
    """Send one request, by anybody. An exception is an answer too: 500."""
    if _handler._middleware_chain is None:
        _handler.load_middleware()
    if cookie:
        headers["HTTP_COOKIE"] = f"{settings.SESSION_COOKIE_NAME}={cookie}"
    requests = RequestFactory(HTTP_HOST="localhost")
    if method == "POST":
        request = requests.post(path, given or {}, **headers)
    else:
        request = requests.generic(method, path, **headers)
    request._dont_enforce_csrf_checks = True
    answer = _handler.get_response(request)
    if answer.streaming:
        answer.streaming_content = [b"".join(answer.streaming_content)]
    return answer


# ---------------------------------------------------------------- people


def build(persons: dict[str, dict[str, set[str]]]) -> World:
    """The site, and a session for everybody in `persons`: name -> scope -> actions."""
    world = World()
    for which in REGIONS:
        world.objects[which] = _things(which)
        world.bodies |= _bodies(which, world)
    for name, scopes in persons.items():
        _person(name, scopes, world)
    for name in (*persons, "other"):
        if name != "anonymous":
            _sign_in(name, world)
    users.disable(User.objects.get(username="disabled"), actor=factories.administrator())
    return world


def _person(name: str, scopes: dict[str, set[str]], world: World) -> None:
    groups = {"hal": "helpdesk", "aud": "auditors", "dot": "administrators", "disabled": "administrators"}
    actor = factories.administrator()
    if name == "anonymous":
        return
    made = factories.user(name, *([groups[name]] if name in groups else []))
    if "granted" in scopes:
        for row in Secret.objects.filter(region__code="main"):
            grants.grant(
                row, made, [action for action in OF_A_SECRET if action in scopes["granted"]], actor=actor
            )
    if name not in groups and "own" in scopes:
        statement = {"Effect": "Allow", "Action": sorted(scopes["own"]), "Resource": OWN_RESOURCES}
        text = json.dumps({"Version": "1", "Statement": [statement]})
        policies.attach(policies.create(f"for-{name}", text, actor=actor), made, actor=actor)


def _sign_in(name: str, world: World) -> None:
    if name == "other":
        factories.user(name)
    user = User.objects.get(username=name)
    for kept, began in ((world.cookies, 0.0), (world.stale, sessions.STALE.total_seconds())):
        client = Client()
        answer = client.post(reverse("account_login"), {"login": name, "password": PASSWORD})
        assert answer.status_code == 302
        store = client.session
        store[expiry.BEGAN_AT] = timezone.now().timestamp() - began
        store.save()
        kept[name] = str(store.cookie)
    world.personal["session", name] = UserSession.objects.get(session_key=Name.behind(world.stale[name])).pk
    world.personal["passkey", name] = WebAuthn.add(user, "Key", _registration()).instance.pk
    world.personal["bulk", name] = _bulk(user)


def _bulk(user: User) -> UUID:
    """A background action of this user, whatever may be seen of its rows."""
    bulk = BulkAction.objects.create(action="verify", requested_by=user.principal, token="press")
    BulkItem.objects.create(
        bulk=bulk, number=0, secret=Secret.objects.get(name="acs/ecs/az/secret", region__code="main")
    )
    return bulk.pk


def _registration() -> dict[str, Any]:
    """What a browser answers that makes a passkey."""
    key = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    name = b"n" * 16
    made = webauthn.AuthenticatorData.create(
        bytes(32), webauthn.AuthenticatorData.FLAG(0x41), 0,
        webauthn.AttestedCredentialData.create(bytes(16), name, key),
    )  # fmt: skip
    client = webauthn.CollectedClientData.create("webauthn.create", bytes(32), "http://localhost")
    attested = webauthn.AttestationObject.create("none", made, {})
    return {
        "id": websafe_encode(name),
        "rawId": websafe_encode(name),
        "type": "public-key",
        "response": {
            "clientDataJSON": websafe_encode(client),
            "attestationObject": websafe_encode(attested),
        },
    }


# ---------------------------------------------------------------- things


def _bodies(which: str, world: World) -> dict[str, dict[str, str]]:
    prefix = "" if which == "own" else f"{which} "
    holder = world.objects["own"]["user"]["pk"]
    return {
        f"{prefix}secret_revoke": {"of": f"user:{holder}"},
        f"{prefix}secret_create_check": {
            "instance": f"{which}-host", "username": "deploy", "kind": "password",
        },
    }  # fmt: skip


def _things(which: str) -> dict[str, Args]:
    actor = factories.administrator()
    region = factories.region(REGIONS[which])
    credential = management.create_credential(f"{which}-fleet", "keyturn", sudo="passwordless", actor=actor)
    host = factories.instance(region=region, credential=credential, name=f"{which}-host")
    found = _people(which) | _keys(which) | {"credential": {"pk": credential.pk}}
    subscription = notices_rows.subscription(f"{which}-pager", channel="mail")
    found["subscription"] = {"pk": subscription.pk}
    found["delivery"] = {"pk": notices_rows.delivery(subscription).pk}
    found["region row"] = {"pk": region.pk}
    found |= {name: {"region": region.code, "pk": pk} for name, pk in _regional(host).items()}
    secret = Secret.objects.get(pk=found["secret"]["pk"])
    token = factories.generic_secret(region=region, name=f"az/{which}-token", value="a-first-value-1")
    found["token"] = {"region": region.code, "pk": token.pk}
    previous = secret.labelled("previous")
    assert previous
    found["secret version"] = found["secret"] | {"version": previous.pk}
    found["token version"] = found["token"] | {"version": token.versions.get().pk}
    holder = User.objects.get(username="own-person")
    grants.grant(secret, holder, [Action.DESCRIBE_SECRET], actor=actor)
    return found


def _regional(host: Instance) -> dict[str, UUID]:
    actor = factories.administrator()
    key = key_pairs.generate("ed25519").private_key.reveal()
    made: dict[str, Secret] = {}
    for name in ("secret", "pending", "doubt", "busy", "stopped", "failed", "pair"):
        given = {"kind": "key_pair", "key_algorithm": "ed25519", "initial": key} if name == "pair" else {}
        made[name] = factories.secret(
            instance=host, username=name, name=f"az/{name}", **({"initial": "an-initial-value-1"} | given)
        )
        factories.settle(made[name])
    new = versions.Value("secret", password=Plaintext("a-second-value-1"))
    versions.promote(versions.stage(made["secret"], new, origin="generated", actor=actor))
    deletion.plan_deletion(made["pending"], actor=actor)
    _doubt(made["doubt"])
    ended = {
        "blocked run": _ended(runs.start(made["stopped"], actor=actor), "blocked", code="must_change"),
        "failed run": _ended(runs.start(made["failed"], actor=actor), "failed", truth="old", code="policy"),
        "checked run": _ended(
            instance_checks.check_account(host, "deploy", "password", actor=actor), "blocked", code="locked"
        ),
    }
    made["windows"] = factories.windows_secret(
        instance=factories.instance(
            region=host.region, name=f"{host.name}-windows", wire="winrm", os="windows", port=5986
        ),
        failed=["Backup"],
    )
    return {
        "instance": host.pk,
        "queued run": runs.start(made["busy"], actor=actor).pk,
        **{name: run.pk for name, run in ended.items()},
        **{name: secret.pk for name, secret in made.items()},
    }


def _ended(run: Run, outcome: str, **said: str) -> Run:
    lease = leases.claim(run.pk, "worker-1/1/1")
    assert lease
    leases.end(lease, outcome, sentence="The host said so.", **said)
    return run


def _doubt(secret: Secret) -> None:
    """The host may have heard a value of which nobody knows whether it took it."""
    actor = factories.administrator()
    run = runs.start(secret, actor=actor)
    lease = leases.claim(run.pk, "worker-1/1/1")
    assert lease
    held = versions.Value("doubt", password=Plaintext("a-second-value-1"))
    version = versions.stage(secret, held, origin="generated", actor=actor)
    leases.hold(lease, version=version, attempts=1)
    versions.mark_offered(version)
    leases.end(lease, "failed", truth="unknown", code="unknown", sentence="The connection broke.")
    credential_state.note(
        secret.managed, ManagedAccount.Credential.UNVERIFIED, "The connection broke.", "unknown"
    )


def _keys(which: str) -> dict[str, Args]:
    actor = factories.administrator()
    made = {name: key_states.create(f"{which}-{name}", actor=actor) for name in ("key", "off", "doomed")}
    key_states.disable(made["off"], actor=actor)
    key_states.plan_destruction(made["doomed"], days=7, actor=actor)
    names = {"key": "key", "off": "disabled key", "doomed": "doomed key"}
    return {names[name]: {"pk": key.pk} for name, key in made.items()}


def _people(which: str) -> dict[str, Args]:
    actor = factories.administrator()
    person = factories.user(f"{which}-person")
    disabled = factories.user(f"{which}-leaver")
    users.disable(disabled, actor=actor)
    group = users.create_group(f"{which}-group", actor=actor)
    users.join(group, [person], actor=actor)
    text = policies.document(["kms:ListSecrets"])
    policy = policies.create(f"{which}-policy", text, actor=actor)
    policies.attach(policy, Group.objects.get(pk=group.pk), actor=actor)
    invitation, token = invitations.invite(f"{which}-guest", actor=actor)
    event = AuditEvent.objects.earliest("sequence")
    machine, idle = (machines.create(f"{which}-{name}", actor=actor) for name in ("app", "idle"))
    machines.disable(idle, actor=actor)
    key, _ = access_keys.create(machine, actor=actor)
    return {
        "application": {"pk": machine.pk},
        "disabled application": {"pk": idle.pk},
        "access key": {"pk": key.pk},
        "user": {"pk": person.pk},
        "disabled user": {"pk": disabled.pk},
        "group": {"pk": group.pk},
        "member": {"pk": group.pk, "member": person.pk},
        "policy": {"pk": policy.pk},
        "attachment": {"pk": Attachment.objects.get(policy=policy).pk},
        "invitation": {"pk": invitation.pk},
        "link": {"token": token.reveal()},
        "event": {"sequence": event.sequence},
        "shape": {"form": "cloudtrail"},
        "chapter": {"chapter": "screens"},
    }
