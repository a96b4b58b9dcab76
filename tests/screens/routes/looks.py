"""What only looks, or only moves the end of one's own session: by GET, and by POST where it takes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rotation import instance_checks
from rotation.bulk import bulk_actions
from secrets_app.keys import key_states
from secrets_app.people import machines, users
from secrets_app.policy import policies
from tests import factories, notices_rows
from tests.screens.routes.calls import Cast, queued, secret


def nothing(cast: Cast) -> list[Any]:
    return []


def everywhere(cast: Cast) -> list[Any]:
    return ["all"]


def here(cast: Cast) -> list[Any]:
    factories.region("main")
    return ["main"]


def one_secret(cast: Cast) -> list[Any]:
    return ["main", secret().pk]


def one_instance(cast: Cast) -> list[Any]:
    return ["main", factories.instance().pk]


def one_run(cast: Cast) -> list[Any]:
    return ["main", queued().pk]


def one_look(cast: Cast) -> list[Any]:
    instance = factories.instance()
    return [
        "main",
        instance_checks.check_account(instance, "svc", "password", actor=factories.administrator()).pk,
    ]


def one_key(cast: Cast) -> list[Any]:
    return [key_states.create("team/second", actor=factories.administrator()).pk]


def one_person(cast: Cast) -> list[Any]:
    return [cast.eve.pk]


def one_application(cast: Cast) -> list[Any]:
    return [machines.create("robot", actor=factories.administrator()).pk]


def one_group(cast: Cast) -> list[Any]:
    return [users.create_group("night", actor=factories.administrator()).pk]


def one_policy(cast: Cast) -> list[Any]:
    text = policies.document(["kms:DescribeSecret"])
    return [policies.create("reader", text, actor=factories.administrator()).pk]


def one_bulk(cast: Cast) -> list[Any]:
    ids = [secret().pk]
    return [bulk_actions.start("verify", ids, actor=cast.dot.principal, token="press").pk]


READS: dict[str, Callable[[Cast], list[Any]]] = {
    "livez": nothing,
    "readyz": nothing,
    "healthz": nothing,
    "account_inactive": nothing,
    "session": nothing,
    "away": nothing,
    "search": nothing,
    "session_stay": nothing,
    "sessions": nothing,
    "mfa_index": nothing,
    "home": nothing,
    "bulk_actions": nothing,
    "bulk_bell": nothing,
    "bulk_action": one_bulk,
    "bulk_progress": one_bulk,
    "get_started": nothing,
    "help": nothing,
    "help_chapter": lambda cast: ["screens"],
    "overview": everywhere,
    "credentials": nothing,
    "credential": lambda cast: [factories.credential().pk],
    "access": nothing,
    "policies": nothing,
    "policy": one_policy,
    "simulator": nothing,
    "access_review": nothing,
    "groups": nothing,
    "group": one_group,
    "users": nothing,
    "applications": nothing,
    "application": one_application,
    "access_keys": nothing,
    "user": one_person,
    "user_sessions": one_person,
    "invitations": nothing,
    "keys": nothing,
    "settings": nothing,
    "settings_regions": nothing,
    "settings_mail": nothing,
    "settings_rules": nothing,
    "settings_notifications": nothing,
    "notification": lambda cast: [notices_rows.subscription().pk],
    "settings_health": nothing,
    "settings_about": nothing,
    "key": one_key,
    "key_progress": one_key,
    "secrets": everywhere,
    "secret_create_instance": here,
    "secret_create_dates": here,
    "secret_create_key_pair": here,
    "secret_create_checked": one_look,
    "secret": one_secret,
    "secret_menu": one_secret,
    "secret_use": one_secret,
    "secret_schedule_dates": one_secret,
    "instances": everywhere,
    "instance": one_instance,
    "instance_live": one_instance,
    "rotations": everywhere,
    "run": one_run,
    "run_steps": one_run,
    "audit": nothing,
    "restore": nothing,
    "restore_progress": nothing,
    "audit_event": lambda cast: [1],
}
