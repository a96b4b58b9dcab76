"""Secrets for provisioning scripts: create one for an account, rotate it, list them; no value is shown."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction

from console.commands import given
from console.commands.face import Answer, Exists, Face, Options, add_wait, after
from console.fetching import by_region, instances_and_runs, secrets_and_keys
from rotation import accounts, runs, tasks
from rotation.managed import creation
from rotation.models import Instance
from secrets_app.actions import Action
from secrets_app.models import Key, Principal, Secret
from secrets_app.policy import requiring

LONGEST_TOKEN = 64


class Command(Face):
    help = "Create and rotate secrets as a user; values come on standard input. See docs/commands.md."
    VERBS: ClassVar = {
        "create": "create a managed secret for an account of an instance",
        "rotate": "rotate a secret immediately",
        "list": "list the secrets that the user may see",
    }

    # ------------------------------------------------------------ create

    def add_to_create(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        parser.add_argument("--instance", required=True, help="the name or the id of its instance")
        parser.add_argument("--account", required=True, help="the OS user whose password or key it keeps")
        parser.add_argument("--kind", choices=Secret.Kind.values, default=Secret.Kind.PASSWORD.value)
        parser.add_argument(
            "--generate",
            action="store_true",
            help="the first rotation makes a value; without it, the current one is read from standard input",
        )
        parser.add_argument("--rotate", action="store_true", help="rotate immediately")
        parser.add_argument("--every", type=int, metavar="DAYS", help="rotate automatically (not)")
        parser.add_argument(
            "--own-login", action="store_true", help="log in to the instance with this secret"
        )
        parser.add_argument("--key", metavar="ALIAS", help="the key that seals its values (the default key)")
        parser.add_argument("--description", default="")
        parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE")
        parser.add_argument(
            "--if-absent", action="store_true", help="succeed if it exists for this account already"
        )
        add_wait(parser)

    def create(self, actor: Principal, options: Options) -> Answer:
        region = by_region.region(options["region"])
        if region is None:
            raise given.Invalid("Name one region.")
        name, tags = creation.full_name(options["name"]), _tags(options["tag"])
        requiring.require(actor, Action.CREATE_SECRET)
        instance = instances_and_runs.instance_named(
            actor, region.code, options["instance"], Action.DESCRIBE_INSTANCE
        )
        existing = _existing(actor, region.code, name)
        if existing is not None:
            if options["if_absent"] and _is_of(existing, instance, options):
                return Answer(existed=True, secret=shown(existing, {instance.pk}))
            raise Exists(f"A secret named {name} exists in {region.name}.", existing.pk)
        if options["wait"] is not None:
            requiring.require(actor, Action.DESCRIBE_RUN)
        key = _key(actor, options["key"])
        initial = None if options["generate"] else given.value()
        with transaction.atomic():
            secret, run = creation.create(
                name,
                region=region,
                instance=instance,
                username=options["account"],
                actor=actor,
                kind=options["kind"],
                initial=initial,
                description=options["description"],
                tags=tags,
                is_on=options["every"] is not None,
                period=timedelta(days=options["every"] or 30),
                rotate_now=options["rotate"],
                as_own_login=options["own_login"],
                key=key,
            )
            if run:
                tasks.wake(run)
        if run is None:
            return Answer(existed=False, secret=shown(secret, {instance.pk}))
        return _with_its_state(after(run, options, existed=False), secret, actor)

    # ------------------------------------------------------------ rotate

    def add_to_rotate(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        parser.add_argument(
            "--value", dest="has_value", action="store_true", help="read the new value from standard input"
        )
        parser.add_argument("--leaked", action="store_true", help="the current value has leaked: goes first")
        parser.add_argument("--token", default="", help="the same text twice is one rotation")
        add_wait(parser)

    def rotate(self, actor: Principal, options: Options) -> Answer:
        name = creation.full_name(options["name"])
        secret = secrets_and_keys.secret_named(actor, options["region"], name, Action.ROTATE_SECRET)
        if options["wait"] is not None:
            requiring.require(actor, Action.DESCRIBE_RUN, secret)
        if len(options["token"]) > LONGEST_TOKEN:
            raise given.Invalid(f"A token has at most {LONGEST_TOKEN} characters.")
        value = given.value() if options["has_value"] else None
        with transaction.atomic():
            run = runs.start(
                secret, actor=actor, value=value, is_leak=options["leaked"], token=options["token"]
            )
            tasks.wake(run)
        return _with_its_state(after(run, options), secret, actor)

    # ------------------------------------------------------------ list

    def add_to_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--region", default=by_region.ALL_REGIONS, help="the code of a region (all)")

    def list(self, actor: Principal, options: Options) -> Answer:
        rows = secrets_and_keys.secrets(actor, options["region"]).select_related("managed__instance")
        seen = _seen_instances(actor)
        return Answer(secrets=[shown(row, seen) for row in rows.order_by("name", "id")])


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="its name, with or without acs/ecs/")
    parser.add_argument("--region", required=True, help="the code of its region")


def _existing(actor: Principal, region: str, name: str) -> Secret | None:
    try:
        return secrets_and_keys.secret_named(actor, region, name, Action.DESCRIBE_SECRET)
    except requiring.NotFound:
        return None


def _is_of(secret: Secret, instance: Instance, options: Options) -> bool:
    """Whether the secret that exists is the one that was to be made."""
    account = accounts.of(secret)
    if account is None or not secret.is_enabled:
        return False
    return (account.instance_id, account.username, secret.kind) == (
        instance.pk, options["account"], options["kind"]
    )  # fmt: skip


def _key(actor: Principal, alias: str | None) -> Key | None:
    if alias is None:
        return None
    key = secrets_and_keys.keys_to_seal_with(actor).filter(alias=alias).first()
    if key is None:
        raise given.Invalid("key: there is no enabled key of this alias that you may see.")
    return key


def _tags(pairs: list[str]) -> dict[str, str]:
    tags = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip() or key.strip() in tags:
            raise given.Invalid("tag: write each tag once, as KEY=VALUE.")
        tags[key.strip()] = text.strip()
    return tags


def _with_its_state(answer: Answer, secret: Secret, actor: Principal) -> Answer:
    now = Secret.objects.select_related("region", "managed__instance").get(pk=secret.pk)
    answer["secret"] = shown(now, _seen_instances(actor))
    return answer


def _seen_instances(actor: Principal) -> set[UUID]:
    return set(instances_and_runs.seen_instances(actor).values_list("pk", flat=True))


def shown(secret: Secret, seen_instances: set[UUID]) -> dict[str, Any]:
    """Return a secret as JSON has it: where its account is, and how it stands; never its value."""
    account = accounts.of(secret)
    is_seen = account is not None and account.instance_id in seen_instances
    return {
        "id": str(secret.pk),
        "name": secret.name,
        "region": secret.region.code,
        "kind": secret.kind,
        "is_enabled": secret.is_enabled,
        "instance": account.instance.instance_id if account is not None and is_seen else None,
        "account": account.username if account is not None else None,
        "credential": account.credential if account is not None else None,
        "sentence": account.credential_sentence if account is not None else "",
    }
