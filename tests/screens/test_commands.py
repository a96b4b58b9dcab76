"""The commands for provisioning scripts: who may do what, how each ends, and that no value is repeated."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.utils import timezone

from console.commands import bill_of_materials, exits, face, given
from console.commands.exits import Exit
from lab.windows.certificates import Authority
from rotation.connectors import base
from rotation.inventory import identities, management
from rotation.models import HostKey, Instance, ManagementCredential, Run
from secrets_app import keyring, seals
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import users
from tests import factories, test_domain_errors
from tests.command_lines import run

pytestmark = pytest.mark.django_db
DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.md"
VALUE = "Canary-Wd7-value-1"


def create_secret(*more: str) -> str:
    return " ".join(["secret create svc --region main --account svc --as dot --instance", *more])


def register(*more: str, name: str = "web-1", address: str = "10.1.2.3") -> str:
    return f"instance register {name} --region main --as dot --address {address} {' '.join(more)}"


# ---------------------------------------------------------------- exit codes


def test_every_domain_error_has_an_exit_code_and_no_exit_code_is_of_an_unknown_error():
    kinds = [kind for kind in test_domain_errors.errors() if issubclass(kind, DomainError)]
    ours = [face.MayNotAct, face.Exists, given.NotPiped, given.Invalid, bill_of_materials.NotAsLocked]
    codes = {kind.code for kind in [*kinds, *ours]}
    shown = {"host_key_changed", "certificate_changed", "name_changed"}
    shown |= {"certificate_early", "certificate_expired", "certificate_name", "certificate_untrusted"}
    reasons = {*shown, "no_host_key", "no_credential", "other_machine"}  # of runs
    assert codes - set(exits.BY_CODE) == set()
    assert set(exits.BY_CODE) - codes - reasons == set()


def test_the_document_has_the_table_of_exit_codes():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(int(code), code.name.lower()) for code in Exit]


def test_a_run_ends_a_command_by_its_outcome():
    ended, waiting = Run.State.ENDED, Run.State.WAITING
    cases = [
        (Run(state=ended, outcome="succeeded"), Exit.DONE),
        (Run(state=ended, outcome="failed", code="refused"), Exit.FAILED),
        (Run(state=ended, outcome="failed", code=base.Unreachable.code), Exit.UNREACHABLE),
        (Run(state=ended, outcome="failed", code=base.Unreachable.code, attempts=1), Exit.FAILED),
        (Run(state=ended, outcome="blocked", code="locked"), Exit.BLOCKED),
        (Run(state=ended, outcome="blocked", code=base.HostKeyChanged.code), Exit.IDENTITY),
        (Run(state=ended, outcome="cancelled"), Exit.FAILED),
        (Run(state=waiting, code=base.Unreachable.code), Exit.UNREACHABLE),
        (Run(state=waiting, code="busy"), Exit.UNFINISHED),
        (Run(state="queued"), Exit.UNFINISHED),
    ]
    assert [(run.code, exits.of_run(run)) for run, _ in cases] == [(run.code, code) for run, code in cases]


# ---------------------------------------------------------------- refusals


def test_every_cause_has_its_exit_code(dot, ann, aud):
    kept = factories.instance(name="web-0", address="10.1.2.2")
    secret = factories.secret(instance=kept, name="kept")
    gone = factories.user("gone", "administrators")
    users.disable(gone, actor=dot.principal)
    factories.user("new", "administrators")
    type(gone).objects.filter(username="new").update(must_change_password=True)
    seals.accept(type(gone).objects.get(username="new"))
    cases = [
        ("instance list --as nobody", Exit.REFUSED, "acting_user_refused"),
        ("instance list --as gone", Exit.REFUSED, "acting_user_refused"),
        ("instance list --as new", Exit.REFUSED, "acting_user_refused"),
        ("instance list --as ann", Exit.REFUSED, "refused"),
        ("credential list --as ann", Exit.REFUSED, "refused"),
        ("secret list --as ann", Exit.REFUSED, "refused"),
        ("credential create one --account keyturn --as aud", Exit.REFUSED, "refused"),
        (register().replace("dot", "aud"), Exit.REFUSED, "refused"),
        ("secret rotate kept --region main --as aud", Exit.REFUSED, "refused"),
        ("secret rotate kept --region main --as ann", Exit.NOT_FOUND, "not_found"),
        ("instance scan web-0 --region main --as ann", Exit.NOT_FOUND, "not_found"),
        ("instance scan web-9 --region main --as dot", Exit.NOT_FOUND, "not_found"),
        ("instance list --region moon --as dot", Exit.NOT_FOUND, "not_found"),
        (register("--credential none"), Exit.NOT_FOUND, "not_found"),
        (create_secret("web-9 --generate"), Exit.NOT_FOUND, "not_found"),
        (register(address="http://x"), Exit.INVALID, "invalid_argument"),
        (register("--port 70000"), Exit.INVALID, "invalid_argument"),
        (register(address="169.254.1.1"), Exit.INVALID, "address_forbidden"),
        (create_secret("web-0 --generate --tag x"), Exit.INVALID, "invalid_argument"),
        (create_secret("web-0 --generate --key none"), Exit.INVALID, "invalid_argument"),
        ("credential create one --account -x --as dot", Exit.USAGE, ""),
        ("credential create one --account a:b --as dot", Exit.INVALID, "login_name_invalid"),
        ("credential create one --account a --wire winrm --as dot", Exit.INVALID, "invalid_argument"),
        ("credential create one --account a@b --wire winrm-kerberos --as dot", Exit.INVALID,
         "invalid_argument"),
        ("credential create one --account a --sudo password --as dot", Exit.INVALID, "invalid_argument"),
        ("credential create one --account a --login key --sudo password --as dot", Exit.INVALID,
         "invalid_argument"),
        ("credential create one --account a --login key --sudo none --separate-sudo-password --as dot",
         Exit.INVALID, "invalid_argument"),
        (register("--authority /nowhere/ca.pem --os windows"), Exit.INVALID, "invalid_argument"),
        (register("--authority /dev/null --os windows").replace("dot", "aud"), Exit.REFUSED, "refused"),
        ("instance trust web-9 --region main --authority /dev/null --as dot", Exit.NOT_FOUND, "not_found"),
        ("instance trust web-0 --region main --authority /dev/null --as dot", Exit.INVALID,
         "authority_unfit"),
        (register(name="web-0"), Exit.CONFLICT, "already_exists"),
        (register("--if-absent", name="web-0"), Exit.CONFLICT, "already_exists"),
        (register(address="10.1.2.2"), Exit.CONFLICT, "address_taken"),
        (create_secret("web-0 --generate"), Exit.CONFLICT, "account_taken"),
        ("secret rotate kept --region main --as dot --value", Exit.USAGE, "value_not_piped"),
        (create_secret("web-0"), Exit.USAGE, "value_not_piped"),
        ("credential create one --account a --login password --as dot", Exit.USAGE, "value_not_piped"),
        (
            "instance approve web-0 --region main --fingerprint SHA256:x --as dot",
            Exit.IDENTITY,
            "host_key_not_seen",
        ),
    ]  # fmt: skip
    found = [(line, ended.exit, ended.said.get("error", {}).get("code", "")) for line, _, _ in cases
             for ended in [run(line)]]  # fmt: skip
    assert found == [(line, int(code), name) for line, code, name in cases]
    known = run(register(name="web-0")).said["error"]
    assert known["id"] == kept.instance_id
    assert secret.runs.count() == Instance.objects.exclude(pk=kept.pk).count() == 0


def test_a_refusal_and_an_action_are_recorded_as_those_of_a_command(dot, aud):
    instance = factories.instance(name="web-0")
    run("instance scan web-0 --region main --as aud")
    assert run("instance scan web-0 --region main --as dot").exit == Exit.DONE
    recorded = AuditEvent.objects.filter(resource_id=instance.pk, action="kms:CheckInstance")
    denied, done = recorded.order_by("sequence")
    assert (denied.actor, denied.outcome) == (aud.principal, "denied")
    assert (done.actor, done.outcome) == (dot.principal, "succeeded")
    assert all(event.request_id.startswith(face.SOURCE) and event.address is None for event in (denied, done))


def test_while_keyturn_is_sealed_a_command_says_so(dot, monkeypatch):
    monkeypatch.setattr(keyring, "is_sealed", lambda: True)
    assert run("secret list --as dot").said["error"]["code"] == "sealed"
    assert run("secret list --as dot").exit == Exit.UNAVAILABLE


# ---------------------------------------------------------------- repeated by a script


def test_what_exists_as_it_was_to_be_made_is_left_as_it_is_if_absent(dot):
    registered = [run(register("--if-absent")) for _ in range(2)]
    assert [ended.said["existed"] for ended in registered] == [False, True]
    assert registered[0].said["instance"] == registered[1].said["instance"]
    made = [run("credential create fleet --account keyturn --if-absent --as dot") for _ in range(2)]
    assert [ended.said["existed"] for ended in made] == [False, True]
    assert made[0].said["credential"] == made[1].said["credential"]
    created = [run(create_secret("web-1 --if-absent"), given=VALUE) for _ in range(2)]
    assert [ended.said["existed"] for ended in created] == [False, True]
    assert created[0].said["secret"] == created[1].said["secret"]
    assert Secret.objects.get().versions.count() == 1
    other = run("credential create fleet --account other --if-absent --as dot")
    assert (other.exit, other.said["error"]["id"]) == (Exit.CONFLICT, made[0].said["credential"]["id"])


def test_a_token_makes_a_repeated_rotation_one(dot):
    factories.secret(instance=factories.instance(), name="kept", initial="Old-value-1")
    line = "secret rotate kept --region main --token build-7 --as dot"
    assert run(line).said["run"]["id"] == run(line).said["run"]["id"]


# ---------------------------------------------------------------- values


def test_a_value_comes_from_standard_input_alone_and_is_never_said(dot, monkeypatch):
    factories.instance(name="web-0", address="10.1.2.2")
    lines = [
        "credential create one --account keyturn --login password --as dot",
        create_secret("web-0 --rotate"),
        "secret list --as dot",
        "credential list --as dot",
    ]
    for line in lines:
        ended = run(line, given=VALUE + "\n")
        assert ended.exit == Exit.DONE, ended.shown
        assert VALUE not in ended.shown
        assert VALUE not in run(line, given=VALUE, asks_for_json=False).shown
    assert ManagementCredential.objects.get(name="one").has_password
    events = AuditEvent.objects.values_list("details", "reason", "resource")
    assert VALUE not in str(list(events))


def test_sudo_has_a_password_of_its_own_in_the_first_line(dot):
    line = "credential create {} --account keyturn --login {} --separate-sudo-password --as dot"
    pair = key_pairs.generate("ed25519").private_key.reveal()
    for name, login, value in (("one", "password", VALUE), ("two", "key", pair)):
        ended = run(line.format(name, login), given=f"The-sudo-Value-1\n{value}\n")
        assert ended.exit == Exit.DONE, ended.shown
        assert ended.said["credential"]["sudo"] == "password"
        assert "The-sudo-Value-1" not in ended.shown
        made = factories.instance(
            name=name,
            address=f"10.9.0.{len(name + login)}",
            credential=ManagementCredential.objects.get(name=name),
        )
        opened = management.manager(made, over=management.endpoint(made))
        assert opened.sudo_password is not None
        assert opened.sudo_password.reveal() == "The-sudo-Value-1"
        held = opened.login.password if login == "password" else opened.login.private_key
        assert held is not None
        if login == "password":
            assert held.reveal() == value
        else:  # it is kept in another spelling
            assert key_pairs.read(held).public_key == key_pairs.read(Plaintext(value)).public_key
    for text in ("The-sudo-Value-1", "The-sudo-Value-1\n", "\nThe-login-Value-2\n"):
        ended = run(line.format("three", "password"), given=text)
        assert (ended.exit, ended.said["error"]["code"]) == (Exit.USAGE, "value_not_piped")
    assert not ManagementCredential.objects.filter(name="three").exists()


def test_an_authority_is_trusted_by_command_from_a_file_or_standard_input(dot, tmp_path):
    first, second = Authority(), Authority()
    file = tmp_path / "authority.pem"
    file.write_text(first.pem)
    ended = run(register(f"--os windows --authority {file}"))
    assert ended.exit == Exit.DONE, ended.shown
    trusted = HostKey.objects.trusted(Instance.objects.get()).get()
    assert (trusted.is_authority, trusted.blob) == (True, first.blob)
    assert run(register(f"--os windows --authority {file} --if-absent")).said["existed"]
    other = run(register("--os windows --authority - --if-absent"), given=second.pem)
    assert other.said["error"]["code"] == "already_exists"
    ended = run("instance trust web-1 --region main --authority - --as dot", given=second.pem)
    assert ended.exit == Exit.DONE, ended.shown
    assert HostKey.objects.trusted(Instance.objects.get()).get().blob == second.blob
    for text in (VALUE, f"-----BEGIN PRIVATE KEY-----\n{VALUE}"):
        ended = run(register("--os windows --authority -", name="web-2", address="10.1.2.4"), given=text)
        assert (ended.exit, ended.said["error"]["code"]) == (Exit.INVALID, "authority_unfit")
        assert VALUE not in ended.shown
    ended = run(register(f"--authority {file}", name="web-2", address="10.1.2.4"))
    assert ended.said["error"]["code"] == "authority_unfit"  # over SSH there is none
    assert Instance.objects.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        "secret rotate kept --region main --as dot {}",
        "secret rotate kept --region main --as dot --value={}",
        "secret rotate kept --region main --as dot --password {}",
        "credential create one --account a --as dot --login {}",
        "instance scan one --region main --as dot --wait {}",
        "instance register one --region main --as dot --address a --port {}",
        "secret {}",
    ],
)
def test_a_value_on_the_command_line_is_refused_and_not_repeated(wrong, capsys):
    command = load_command_class("console", wrong.split()[0])
    command._called_from_command_line = True
    parser = command.create_parser("keyturn", wrong.split()[0])
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(wrong.format(VALUE).split()[1:])
    shown = capsys.readouterr()
    assert ended.value.code == Exit.USAGE
    assert VALUE not in shown.out + shown.err
    assert "standard input only" in shown.err


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "value_not_piped"), ("\n", "value_not_piped"), ("two\nlines", "password_unfit"),
     ("x" * (given.MOST_BYTES + 1), "invalid_argument")],
)  # fmt: skip
def test_what_is_no_value_is_refused_and_nothing_is_made(text, code, dot):
    factories.instance(name="web-0", address="10.1.2.2")
    ended = run(create_secret("web-0"), given=text)
    assert ended.said["error"]["code"] == code
    assert not Secret.objects.exists()


def test_a_script_approves_only_what_the_newest_scan_was_shown(dot):
    old, new = factories.host_key(), factories.host_key()
    instance = factories.instance(name="web-0", keys=[old], approved=False)
    scan = Run.objects.create(
        kind=Run.Kind.SCAN, instance=instance, requested_by=dot.principal, state=Run.State.ENDED,
        outcome=Run.Outcome.SUCCEEDED, started_at=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    identities.see_host_keys(instance, [new])
    HostKey.objects.filter(fingerprint=new.fingerprint).update(seen_at=scan.started_at + timedelta(hours=1))
    line = "instance approve web-0 --region main --as dot --fingerprint"
    assert run(f"{line} {old.fingerprint}").exit == Exit.IDENTITY
    assert not instance.host_keys.filter(state="approved").exists()
    assert run(f"{line} {new.fingerprint}").exit == Exit.DONE
    assert instance.host_keys.get(state="approved").fingerprint == new.fingerprint
