"""FI-R-37 to 43: password programs and checks that are slow, fail, or ask another source than the files."""

from __future__ import annotations

import pytest

from rotation.connectors import base
from rotation.connectors.ssh.connector import SshConnector
from rotation.inventory.management import endpoint, manager
from rotation.models import Run
from secrets_app.models import SecretVersion
from secrets_app.secrets import versions
from tests.faults.case import Case

pytestmark = pytest.mark.django_db(transaction=True)
passwords = pytest.mark.parametrize("kind", ["password"])
CHPASSWD, CHECKER = "/usr/sbin/chpasswd", "/usr/sbin/unix_chkpwd"
PAM = "/etc/pam.d/common-password"


def delay(case: Case, program: str, seconds: int) -> None:
    """As if a hash took so long: a real one that does takes longer on a slower machine."""
    case.replace_program(program, f'sleep {seconds}; exec {program}.real "$@"')


def probe(case: Case, version: SecretVersion) -> base.Proof:
    place = endpoint(case.instance)
    who, password = manager(case.instance, over=place), versions.value(version).credential
    return SshConnector(place).probe_password(who, case.username, password, timeout=30)


# -- slow --------------------------------------------------------------------------------------------------


@passwords
def test_fi_r_37_a_check_that_takes_seconds_gives_its_verdict_on_either_value(case: Case):
    delay(case, CHECKER, 3)
    run = case.rotate()
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", ""), run.sentence
    assert case.accepts(case.current)
    previous = case.secret.labelled("previous")
    assert previous is not None
    for version, verdict in ((case.current, "accepted"), (previous, "rejected")):
        proof = probe(case, version)
        assert proof.verdict == verdict, proof.reason


@passwords
def test_fi_r_37_a_check_that_takes_longer_than_its_time_is_unclear_and_named(case: Case):
    delay(case, CHECKER, 60)
    proof = probe(case, case.current)
    assert (proof.verdict, proof.code) == (base.Verdict.UNCLEAR, "slow_check")


@passwords
def test_fi_r_38_a_program_that_takes_seconds_to_make_a_hash_is_given_them(case: Case):
    case.sh(f"sed -i 's/yescrypt.*/yescrypt rounds=5/' {PAM}")  # said to be dear, so that it is not cut off
    delay(case, CHPASSWD, 5)
    run = case.rotate()
    assert (run.outcome, run.attempts) == ("succeeded", 1), run.sentence


@passwords
def test_fi_r_39_a_value_that_cannot_be_asked_about_is_never_one_that_does_not_work(
    case: Case, monkeypatch: pytest.MonkeyPatch
):
    current = versions.value(case.current).credential.reveal()

    def probed(self, who, username, password, *, timeout):
        if password.reveal() == current:
            return base.Proof(base.Verdict.REJECTED, base.Level.HASH)
        return base.Proof(base.Verdict.UNCLEAR, reason="It took too long.", code="slow_check")

    def told(self, *given, **named):
        set_password(self, *given, **named)
        raise base.Unknown

    set_password = SshConnector.set_password
    monkeypatch.setattr(SshConnector, "probe_password", probed)
    monkeypatch.setattr(SshConnector, "set_password", told)
    run = case.finish(case.rotate())
    assert (run.outcome, run.truth) == ("failed", "unknown"), run.sentence
    monkeypatch.undo()
    assert case.rotate().outcome == "succeeded"


# -- another source ----------------------------------------------------------------------------------------


@passwords
@pytest.mark.parametrize("database", ["passwd", "shadow"])
def test_fi_r_40_an_account_that_another_source_answers_for_first_is_blocked_before_the_change(
    case: Case, database: str
):
    theirs = {
        "passwd": f"{case.username}:x:4711:4711::/home/elsewhere:/bin/sh",
        "shadow": f"{case.username}:*:20000:0:99999:7:::",
    }[database]
    case.host.write("/etc/nsswitch.conf", "passwd: extrausers files\nshadow: extrausers files\n")
    case.replace_program(
        "/usr/bin/getent", f'[ "$1" = {database} ] && echo "{theirs}" || exec getent.real "$@"'
    )
    run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", "other_source", 0), run.sentence
    assert case.accepts(case.current)
    case.restore_program("/usr/bin/getent")
    assert case.rotate().outcome == "succeeded"


# -- failures ----------------------------------------------------------------------------------------------

MOUNT = "cp -p /etc/shadow /run/shadow && mount --bind /run/shadow /etc/shadow"
FAILURES = {
    "mount point": (MOUNT, "umount /etc/shadow && cp -p /run/shadow /etc/shadow", "shadow_mount", 0),
    "immutable": (
        "touch /etc/nshadow && chattr +i /etc/nshadow",
        "chattr -i /etc/nshadow",
        "shadow_frozen",
        0,
    ),
    "no module": (
        f"cp {PAM} /run/pam && sed -i '1i password requisite pam_not_there.so' {PAM}",
        f"cp /run/pam {PAM}",
        "pam_broken",
        1,
    ),
    "a module that failed": (
        f"cp {PAM} /run/pam && sed -i '1i password requisite pam_exec.so quiet /bin/false' {PAM}",
        f"cp /run/pam {PAM}",
        "pam_broken",
        1,
    ),
}


@passwords
@pytest.mark.parametrize(("broken", "mended", "code", "attempts"), FAILURES.values(), ids=FAILURES)
def test_fi_r_41_a_failure_that_is_not_the_values_is_named_and_burns_none(
    case: Case, broken: str, mended: str, code: str, attempts: int
):
    case.sh(broken)
    run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", code, attempts), run.sentence
    assert case.accepts(case.current)
    assert not case.secret.versions.exclude(dead_at=None).exists()
    kept = case.pending
    case.sh(mended)
    run = case.rotate()
    assert run.outcome == "succeeded", run.sentence
    assert case.current == kept


@passwords
def test_fi_r_42_a_refusal_without_a_reason_is_not_called_a_rule_and_burns_no_value(case: Case):
    case.sh(f"sed -i '1i password requisite pam_deny.so' {PAM}")
    with case.nothing_else_changes():
        run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", "not_set", 1), run.sentence
    assert not case.secret.versions.exclude(dead_at=None).exists()
    assert Run.objects.filter(secret=case.secret, outcome="succeeded", kind="rotate").count() == 0
    case.sh(f"sed -i 1d {PAM}")
    assert case.rotate().outcome == "succeeded"


@passwords
def test_fi_r_43_a_rule_that_says_so_gets_another_value(case: Case):
    judge = "#!/bin/sh\n[ -e /run/asked ] || { touch /run/asked; echo BAD PASSWORD; exit 1; }\n"
    case.host.write("/usr/local/bin/judge", judge, 0o755)
    case.sh(f"sed -i '1i password requisite pam_exec.so quiet stdout /usr/local/bin/judge' {PAM}")
    run = case.rotate()
    assert (run.outcome, run.attempts) == ("succeeded", 2), run.sentence
    assert case.secret.versions.exclude(dead_at=None).count() == 1
