"""Access keys for provisioning: make a machine and a key for it, list and change keys; as a user.

The user is named, and only what that user may do is done and recorded: a shell on this machine is no right.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from secrets_app.errors import DomainError
from secrets_app.models import AccessKey, Policy, Principal
from secrets_app.people import access_keys, machines
from secrets_app.policy import policies

REASON = "manage.py access_key, on Keyturn's machine"


class Command(BaseCommand):
    help = "Create, list, disable, enable and delete access keys, as a user (--as). See docs/applications.md."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a key, and its machine if there is none of this name")
        create.add_argument("name", help="the machine, or a user")
        create.add_argument("--policy", action="append", default=[], help="attach this policy to the machine")
        create.add_argument("--network", action="append", default=[], help="requests come from here only")
        create.add_argument("--expires", type=_moment, help="a time with its zone: 2027-01-31T12:00:00+00:00")
        list_ = verbs.add_parser("list", help="list the keys of a machine or a user")
        list_.add_argument("name")
        changes = [
            verbs.add_parser("disable", help="have the next request with a key be refused"),
            verbs.add_parser("enable", help="accept a disabled key again"),
            verbs.add_parser("delete", help="delete a key that is disabled, has expired or was never used"),
        ]
        for change in changes:
            change.add_argument("key_id")
        for verb in (create, list_, *changes):
            verb.add_argument("--as", dest="actor", required=True, help="the user who does it")
            verb.add_argument("--json", action="store_true", help="answer with one JSON object")

    def handle(self, *args: Any, verb: str, actor: str, **options: Any) -> None:
        try:
            answer = _VERBS[verb](_principal(actor, Principal.Kind.USER), options)
        except DomainError as error:
            raise CommandError(error.sentence) from None
        if options["json"]:
            self.stdout.write(json.dumps(answer))
            return
        for row in answer["keys"]:
            self.stdout.write("  ".join(f"{name}={value}" for name, value in row.items()))
        if verb == "delete":
            self.stdout.write(f"{answer['deleted']} is deleted.")
        if verb == "create":
            self.stdout.write("The secret is shown only now.")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _principal(name: str, *kinds: Principal.Kind) -> Principal:
    found = Principal.objects.select_related("user").filter(name__iexact=name, kind__in=kinds).first()
    if found is None:
        raise CommandError(f"There is no {' or '.join(kind.label.lower() for kind in kinds)} {name}.")
    return found


def _create(actor: Principal, options: dict[str, Any]) -> dict[str, Any]:
    with transaction.atomic():
        kinds = (Principal.Kind.USER, Principal.Kind.MACHINE)
        rows = Principal.objects.select_related("user").filter(name__iexact=options["name"], kind__in=kinds)
        owner = rows.first() or machines.create(options["name"], actor=actor)
        for name in options["policy"]:
            policy = Policy.objects.filter(name=name).first()
            if policy is None:
                raise CommandError(f"There is no policy {name}.")
            policies.attach(policy, owner, actor=actor)
        key, secret = access_keys.create(
            owner, actor=actor, networks=options["network"], expires_at=options["expires"], reason=REASON
        )
    return {"keys": [_shown(key) | {"secret": secret.reveal()}]}


def _list(actor: Principal, options: dict[str, Any]) -> dict[str, Any]:
    owner = _principal(options["name"], Principal.Kind.USER, Principal.Kind.MACHINE)
    return {"keys": [_shown(key) for key in access_keys.of(owner, actor=actor)]}


def _disable(actor: Principal, options: dict[str, Any]) -> dict[str, Any]:
    key = _key(options)
    access_keys.disable(key, actor=actor, reason=REASON)
    return {"keys": [_shown(key)]}


def _enable(actor: Principal, options: dict[str, Any]) -> dict[str, Any]:
    key = _key(options)
    access_keys.enable(key, actor=actor, reason=REASON)
    return {"keys": [_shown(key)]}


def _delete(actor: Principal, options: dict[str, Any]) -> dict[str, Any]:
    key = _key(options)
    access_keys.delete(key, actor=actor, reason=REASON)
    return {"keys": [], "deleted": key.key_id}


def _key(options: dict[str, Any]) -> AccessKey:
    rows = AccessKey.objects.select_related("principal__user")
    key = rows.filter(key_id=options["key_id"]).first()
    if key is None:
        raise access_keys.Gone
    return key


def _shown(key: AccessKey) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "owner": key.principal.name,
        "enabled": key.is_active,
        "expires": key.expires_at.isoformat() if key.expires_at else None,
        "networks": key.networks,
        "last_used": key.last_used_at.isoformat() if key.last_used_at else None,
    }


_VERBS = {"create": _create, "list": _list, "disable": _disable, "enable": _enable, "delete": _delete}
