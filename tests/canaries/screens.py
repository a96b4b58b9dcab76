"""Everything that a person does with a value on the screens, and everything that goes wrong with it there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

from allauth.mfa.totp.internal import auth as totp
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client, override_settings
from django.urls import reverse

from console.models import Message
from rotation import runs
from rotation.managed import creation
from secrets_app import keyring
from secrets_app.audit import trail
from secrets_app.models import AuditEvent, KeyVersion, Secret
from tests import factories
from tests.canaries.cast import Cast

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
DEAD = "00000000-0000-4000-8000-000000000000"
EXPORTS = (
    "/all/secrets/export.csv", "/all/instances/export.csv", "/all/rotations/export.csv",
    "/all/rotations/export.jsonl", "/audit/export.csv", "/audit/export.jsonl",
)  # fmt: skip


class Person:
    """Somebody's browser: it keeps what came back, but for what is meant to show a value."""

    def __init__(self, **differences: Any) -> None:
        self.client = Client(raise_request_exception=False, **differences)
        self.urls: list[bytes] = []
        self.errors: list[bytes] = []  # the answers that refuse or fail
        self.pages: list[bytes] = []  # the others
        self.statuses: set[int] = set()

    def ask(self, method: str, url: str, *args: Any, shows: bool = False, **kwargs: Any) -> Any:
        answer = getattr(self.client, method)(url, *args, **kwargs)
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        self.urls += [answer.request["PATH_INFO"].encode(), str(answer.request["QUERY_STRING"]).encode()]
        self.urls += [repr(answer.headers).encode(), str(answer.cookies).encode()]
        self.statuses.add(answer.status_code)
        if answer.status_code >= 400:
            self.errors.append(body)
        elif not shows:
            self.pages.append(body)
        return answer

    def post(self, name: str, given: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        return self.ask("post", reverse(name, args=args), given, **kwargs)

    def takes_exports(self) -> list[bytes]:
        return [b"".join(self.client.get(path).streaming_content) for path in EXPORTS]


def sign_in(cast: Cast) -> Person:
    """Wrong words first; then a second factor, recovery codes, another password, somebody invited."""
    person = Person()
    words = {"login": "dot", "password": cast["sign-in"]}
    person.post("account_login", words | {"password": cast["wrong sign-in"]})
    person.post("account_login", words | {"login": cast["sign-in as name"]})
    assert person.post("account_login", words).status_code == 302
    page = person.ask("get", reverse("mfa_activate_totp"), shows=True).content.decode()
    cast["app"] = found = re.search(r'data-copy="([A-Z2-7]{32})"', page)[1]
    counter = next(iter(list(totp.yield_hotp_counters_from_time())[1:2]))
    code = totp.format_hotp_value(totp.hotp_value(found, counter))
    page = person.post("mfa_activate_totp", {"code": code}, shows=True).content.decode()
    first = re.findall(r"\b\d{12}\b", page)
    assert len(first) >= 8
    cast |= {f"first recovery code {number}": code for number, code in enumerate(first)}
    page = person.post("mfa_view_recovery_codes", {}, shows=True).content.decode()
    codes = re.findall(r"\b\d{12}\b", page)
    assert len(codes) >= 8
    cast |= {f"recovery code {number}": code for number, code in enumerate(codes)}
    again = Person()
    again.post("account_login", words)
    again.post("mfa_authenticate", {"code": "not a code at all"})
    assert again.post("mfa_authenticate", {"code": codes[0]}).status_code == 302
    fields = "oldpassword", "password1", "password2"
    weak = person.post("account_change_password", dict(zip(fields, (cast["weak sign-in"],) * 3, strict=True)))
    assert weak.status_code != 302
    new = cast["sign-in"], cast["new sign-in"], cast["new sign-in"]
    assert person.post("account_change_password", dict(zip(fields, new, strict=True))).status_code == 302
    assert person.post("account_reauthenticate", {"password": cast["wrong sign-in"]}).status_code != 302
    assert person.post("account_reauthenticate", {"password": cast["new sign-in"]}).status_code == 302
    _invite(person, cast)
    return person


def _invite(person: Person, cast: Cast) -> None:
    words = {"username": "nia", "display_name": "Nia", "groups": ["helpdesk"]}
    page = person.post("invite", words, shows=True).content.decode()
    link = re.search(r"http://[^<]*(/invitation/[^<]+)</pre>", page)[1]
    guest = Person()
    opened = guest.client.get(link)  # the link is in this one address only; what follows is kept
    chosen = {"password1": cast["invited"], "password2": cast["invited"]}
    guest.ask("post", opened["Location"], chosen | {"password2": cast["weak sign-in"]})
    assert guest.ask("post", opened["Location"], chosen).status_code == 302
    person.errors += guest.errors
    person.pages += guest.pages
    person.urls += guest.urls


def create(person: Person, instance: str, username: str, **given: str) -> Secret:
    """The Create Secret wizard, step by step, with the value in every step as a browser sends it."""
    filled = {
        "type": "ecs", "name": f"kept/{username}", "instance": instance, "username": username,
        "kind": "password", "length": "32", "sets": ["lower", "upper", "digits", "symbols"], "excluded": "",
        "description": "", "tags": "", "rotation": "on", "period": "7", "unit": "days",
        "key_algorithm": "ed25519",
    } | given  # fmt: skip
    person.post("secret_create", filled | {"step": "1", "name": ""}, "main", headers=HTMX)
    for step in ("1", "2"):
        answer = person.post("secret_create", filled | {"step": step}, "main", headers=HTMX)
        assert answer.status_code == 200, answer.content.decode()[-3000:]
    answer = person.post("secret_create", filled, "main", headers=HTMX)
    made = Secret.objects.filter(name=f"acs/ecs/kept/{username}").first()
    assert made is not None, answer.content.decode()[-3000:]
    return made


def read(person: Person, secret: Secret) -> None:
    """Get secret value, as text and as a file; nothing but that answer holds it."""
    reason = {"reason": "to log on"}
    assert person.post("secret_reveal", reason, "main", secret.pk, shows=True).status_code == 200
    if secret.kind == "key_pair":
        assert person.post("secret_download", reason, "main", secret.pk, shows=True).status_code == 200


def look_up(person: Person, *values: str) -> None:
    for value in values:
        assert person.post("audit_look_up", {"text": value}).status_code == 200


def custom(value: str, **differences: str) -> dict[str, str]:
    return {
        "reason": "routine",
        "use_custom": "on",
        "value": value,
        "overrides_policy": "on",
        "policy_reason": "of a canary",
        "token": uuid4().hex,
    } | differences


def fail(person: Person, cast: Cast, secret: Secret) -> None:
    """Send a value where it cannot be taken: each answer refuses or breaks."""
    rotate = reverse("secret_rotate", args=["main", secret.pk])

    def refused(status: int, answer: Any) -> None:
        assert answer.status_code == status, (status, answer.status_code, answer.content[-1500:])

    refused(422, person.ask("post", rotate, custom(f"{cast['with a line break']}\nx"), headers=HTMX))
    refused(422, person.ask("post", rotate, custom(f"{cast['off the policy']} x", overrides_policy="")))
    broken = {"name": "new", "username": "keyturn", "login": "key", "sudo": "passwordless"}
    refused(422, person.post("credential_create", broken | {"private_key": cast["in a broken key"]}))
    refused(404, person.post("secret_rotate", custom(cast["of a missing secret"]), "main", DEAD))
    refused(405, person.ask("put", rotate, cast["by another method"], content_type="text/plain"))
    many = custom(cast["too many fields"]) | {f"field{number}": "x" for number in range(1001)}
    refused(400, person.ask("post", rotate, many))
    _strangers(person, cast, rotate, refused)
    with _audit_is_full():
        refused(503, person.ask("post", rotate, custom(cast["not recorded"]), headers=HTMX))
    with _root_key_is_gone():
        refused(503, person.ask("post", rotate, custom(cast["sealed"])))
    KeyVersion.objects.filter(state="primary").update(state="disabled")
    refused(409, person.ask("post", rotate, custom(cast["under a disabled key"]), headers=HTMX))
    refused(409, person.post("secret_reveal", {"reason": "x"}, "main", secret.pk))
    KeyVersion.objects.filter(state="disabled").update(state="primary")
    for place in (runs, "_stage_chosen"), (trail, "_ADDED"), (creation, "others"):
        _break(person, cast, rotate, *place)


def _strangers(person: Person, cast: Cast, rotate: str, refused: Any) -> None:
    with override_settings(ALLOWED_HOSTS=["localhost"]):
        strange = {"Host": "elsewhere.example"}
        refused(400, person.ask("post", rotate, custom(cast["of a strange host"]), headers=strange))
    other = Person(enforce_csrf_checks=True)
    other.client.cookies = person.client.cookies
    refused(403, other.ask("post", rotate, custom(cast["without token"])))
    low = Person()
    low.client.force_login(factories.user("low", "auditors"))
    refused(403, low.ask("post", rotate, custom(cast["without right"])))
    for one in (other, low):
        person.errors += one.errors
        person.statuses |= one.statuses


def _break(person: Person, cast: Cast, rotate: str, where: Any, name: str) -> None:
    """A bug in the middle of the work: the frames above it hold what was typed."""
    with mock.patch.object(where, name, side_effect=LookupError("a bug")):
        answer = person.ask("post", rotate, custom(cast["in a broken view"]))
    assert answer.status_code in {500, 503, 302}, answer.status_code


@contextmanager
def _audit_is_full() -> Iterator[None]:
    def full(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "INSERT" in sql and AuditEvent._meta.db_table in sql:
            raise OperationalError("disk full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(full):
        yield


@contextmanager
def _root_key_is_gone() -> Iterator[None]:
    keyring.forget()
    with override_settings(ROOT_KEY_FILE=Path("/nowhere/root.key")):
        yield
    keyring.forget()


def forget_limits() -> None:
    """Wrong passwords were counted; nobody waits here."""
    cache.clear()


def queued() -> int:
    return Message.objects.count()
