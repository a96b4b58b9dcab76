"""Instances for provisioning scripts: register, scan, approve, attach a credential, test, list."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, ClassVar

from django.db import transaction

from console.commands import given
from console.commands.exits import Exit
from console.commands.face import Answer, Exists, Face, Options, add_wait, after
from console.commands.given import Invalid
from console.fetching import by_region, instances_and_runs
from console.forms.instances import instances as forms
from console.presentation.instance_states import HostKeys
from rotation import instance_checks, tasks, wires
from rotation.inventory import identities, instances, management
from rotation.models import HostKey, Instance, Run
from secrets_app.actions import Action
from secrets_app.models import Principal
from secrets_app.policy import requiring

#: How an instance is reached where nothing else is said.
#: The usual wire of each system, which is the first.
WIRES = {wire.os: wire.name for wire in reversed([*wires.TABLE.values()])}


class Command(Face):
    help = "Register instances, and approve what they are recognized by, as a user. See docs/commands.md."
    VERBS: ClassVar = {
        "register": "register an instance; nothing is sent to it",
        "scan": "read the host keys or the certificate that the instance shows",
        "trust": "trust an authority, which signs what the instance shows",
        "approve": "trust exactly these fingerprints, which were compared on the instance itself",
        "attach": "let the instance be managed with a management credential",
        "test": "test the connection",
        "list": "list the instances that the user may see",
    }

    # ------------------------------------------------------------ register

    def add_to_register(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        parser.add_argument("--address", required=True, help="a host name or an IP address")
        parser.add_argument("--port", type=int, help="where it listens (the usual port)")
        parser.add_argument(
            "--os", choices=WIRES, default=Instance.OS.LINUX.value, help="linux or windows (linux)"
        )
        parser.add_argument(
            "--wire", choices=list(wires.TABLE), help="how it is reached (ssh; winrm for windows)"
        )
        parser.add_argument(
            "--authority",
            help="an authority's certificate (a file in PEM, or -), which is trusted at once",
        )
        parser.add_argument("--credential", help="the management credential to attach")
        parser.add_argument(
            "--if-absent", action="store_true", help="succeed if this instance is registered already"
        )

    def register(self, actor: Principal, options: Options) -> Answer:
        region = by_region.region(options["region"])
        if region is None:
            raise Invalid("Name one region.")
        requiring.require(actor, Action.REGISTER_INSTANCE, region)
        authority = given.certificate(options["authority"]) if options["authority"] else ""
        wire = options["wire"] or WIRES[options["os"]]
        if authority:
            identities.read_authority(wire, authority)
        place = _place(options, wire)
        existing = _existing(actor, options)
        if existing is not None:
            is_same = (existing.address, existing.port, existing.wire) == (
                place["address"],
                place["port"],
                wire,
            )
            if options["if_absent"] and is_same and _trusts(existing, authority):
                return Answer(existed=True, instance=shown(existing, actor))
            raise Exists(f"{existing.name} is registered, at {existing.where}.", existing.instance_id)
        named = options["credential"]
        with transaction.atomic():
            made = instances.register(
                place["name"],
                region=region,
                address=place["address"],
                port=place["port"],
                os=options["os"],
                wire=wire,
                credential=_credential(actor, named) if named else None,
                actor=actor,
            )
            if authority:
                identities.trust_authority(made, authority, actor=actor)
        return Answer(existed=False, instance=shown(made, actor))

    # ------------------------------------------------------------ what it is recognized by

    def add_to_scan(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        add_wait(parser)

    def scan(self, actor: Principal, options: Options) -> Answer:
        return _look(actor, options, instance_checks.scan)

    def add_to_trust(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        parser.add_argument(
            "--authority", required=True, help="its certificate: a file in PEM form, or - for standard input"
        )

    def trust(self, actor: Principal, options: Options) -> Answer:
        instance = _named(actor, options, Action.APPROVE_HOST_KEY)
        identities.trust_authority(instance, given.certificate(options["authority"]), actor=actor)
        return Answer(instance=shown(instance, actor))

    def add_to_approve(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        parser.add_argument(
            "--fingerprint",
            action="append",
            required=True,
            help="as the instance itself prints it, once for each: SHA256:... of a host key, the SHA-256 of "
            "a certificate, or the computer name",
        )

    def approve(self, actor: Principal, options: Options) -> Answer:
        instance = _named(actor, options, Action.APPROVE_HOST_KEY)
        # What a scan before the newest one was shown may belong to another machine.
        scanned = instance.runs.filter(kind=Run.Kind.SCAN, outcome=Run.Outcome.SUCCEEDED)
        at = scanned.order_by("-created_at").values_list("started_at", flat=True).first()
        seen = {key.fingerprint for key in HostKeys(instance, list(instance.host_keys.all()), at).shown}
        if not seen.issuperset(options["fingerprint"]):
            raise identities.NotSeen(
                f"Scan the {instance.shown.one} again: what you approved is not what was seen."
            )
        identities.approve_host_keys(instance, options["fingerprint"], actor=actor)
        return Answer(instance=shown(instance, actor))

    def add_to_attach(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        parser.add_argument("--credential", required=True, help="the name of a management credential")

    def attach(self, actor: Principal, options: Options) -> Answer:
        instance = _named(actor, options, Action.USE_CREDENTIAL)
        management.attach(instance, _credential(actor, options["credential"]), actor=actor)
        instance.refresh_from_db()
        return Answer(instance=shown(instance, actor))

    # ------------------------------------------------------------ test and list

    def add_to_test(self, parser: ArgumentParser) -> None:
        _add_name(parser)
        add_wait(parser)

    def test(self, actor: Principal, options: Options) -> Answer:
        return _look(actor, options, instance_checks.check)

    def add_to_list(self, parser: ArgumentParser) -> None:
        parser.add_argument("--region", default=by_region.ALL_REGIONS, help="the code of a region (all)")

    def list(self, actor: Principal, options: Options) -> Answer:
        rows = instances_and_runs.instances(actor, options["region"]).prefetch_related("host_keys")
        return Answer(instances=[shown(row, actor) for row in rows.order_by("name", "id")])


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="its name, or its id")
    parser.add_argument("--region", required=True, help="the code of its region")


def _place(options: Options, wire: str) -> dict[str, Any]:
    """Return name, address and port as the form of the screen takes them. Raises `Invalid`."""
    port = options["port"] if options["port"] is not None else wires.of(wire).ports[0]
    form = forms.Address({"name": options["name"], "address": options["address"], "port": port})
    if not form.is_valid():
        field, sentences = next(iter(form.errors.items()))
        raise Invalid(f"{field}: {sentences[0]}")
    return form.cleaned_data


def _trusts(instance: Instance, authority: str) -> bool:
    """Whether this authority is trusted there, where one is given."""
    if not authority:
        return True
    line = identities.read_authority(instance.wire, authority).line
    return any(key.line == line for key in HostKey.objects.trusted(instance))


def _existing(actor: Principal, options: Options) -> Instance | None:
    try:
        return _named(actor, options, Action.DESCRIBE_INSTANCE)
    except requiring.NotFound:
        return None


def _named(actor: Principal, options: Options, action: Action) -> Instance:
    return instances_and_runs.instance_named(actor, options["region"], options["name"], action)


def _credential(actor: Principal, name: str) -> Any:
    return instances_and_runs.credential_named(actor, name, Action.DESCRIBE_CREDENTIAL)


def _look(actor: Principal, options: Options, ask: Callable[..., Run]) -> Answer:
    instance = _named(actor, options, Action.CHECK_INSTANCE)
    if options["wait"] is not None:  # what is found is told to those who may see it
        requiring.require(actor, Action.DESCRIBE_RUN, instance)
    with transaction.atomic():
        run = ask(instance, actor=actor)
        tasks.wake(run)
    answer = after(run, options)
    instance.refresh_from_db()
    answer["instance"] = shown(instance, actor)
    is_known = any(key["state"] == "approved" for key in answer["instance"]["host_keys"])
    if run.kind == Run.Kind.CHECK and answer.exit == Exit.BLOCKED and not is_known:
        answer.exit = Exit.IDENTITY
    return answer


def shown(instance: Instance, actor: Principal) -> dict[str, Any]:
    """Return an instance as JSON has it; who may not see its credential is not told which it is."""
    credential = instance.credential
    sees_it = credential is not None and requiring.may(actor, Action.DESCRIBE_CREDENTIAL, credential)
    keys = sorted(instance.host_keys.all(), key=lambda key: key.fingerprint)
    return {
        "id": instance.instance_id,
        "name": instance.name,
        "region": instance.region.code,
        "os": instance.os,
        "wire": instance.wire,
        "address": instance.address,
        "port": instance.port,
        "state": instance.state,
        "sentence": instance.state_sentence,
        "credential": credential.name if credential is not None and sees_it else None,
        "host_keys": [
            {"fingerprint": key.fingerprint, "algorithm": key.algorithm, "state": key.state} for key in keys
        ],
    }
