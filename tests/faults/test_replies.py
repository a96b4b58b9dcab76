"""FI-H-15, 16, 17, 20, 21: hosts that run something else, print what they like, or tell no truth."""

from __future__ import annotations

import tracemalloc

import pytest

from lab import Fleet, Spec
from rotation.models import Run, Step
from tests.faults.case import OLD, Case
from tests.wires.test_ssh import shells  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
passwords = pytest.mark.parametrize("kind", ["password"])
keys = pytest.mark.parametrize("kind", ["key_pair"])
CHPASSWD = "/usr/sbin/chpasswd"
MOST_BYTES = 8 * 1024 * 1024


# -- another command in place of ours ------------------------------------------------------------------


@both
def test_fi_h_15_a_forced_command_of_the_management_account_is_no_evidence(case: Case, management_key):
    with case.nothing_else_changes():
        for command in ("/bin/true", "internal-sftp", "echo APPLIED; cat"):
            case.host.set_authorized_keys("keyturn", f'command="{command}" {management_key.public}\n')
            run = case.rotate()
            assert (run.outcome, run.code, run.attempts) == ("blocked", "forced_command", 0), command
            assert case.accepts(case.current)
        case.host.set_authorized_keys("keyturn", f"{management_key.public}\n")
        assert case.rotate().outcome == "succeeded"


@both
def test_fi_h_15_a_forced_command_of_the_account_itself_lowers_what_is_claimed(case: Case):
    case.configure_sshd("ForceCommand /bin/true", user="svc")
    assert case.rotate().outcome == "succeeded"
    assert case.account.verified_level == ("login" if case.is_key_pair else "hash")


# -- shells --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shell", "level"),
    [
        ("password", "nologin", "hash"),
        ("key_pair", "nologin", "login"),
        ("key_pair", "false", "login"),
        ("password", "dash", "command"),
        ("key_pair", "tcsh", "command"),
        ("password", "fish", "command"),
    ],
)
def test_fi_h_16_an_account_may_have_any_shell_and_the_run_says_what_was_proven(
    new_case,
    shells: Fleet,  # noqa: F811
    management_key,
    kind: str,
    shell: str,
    level: str,
):
    host = shells.start(f"shell-{shell}-{kind.replace('_', '-')}", Spec(public_key=management_key.public))
    path = f"/usr/sbin/{shell}" if shell == "nologin" else f"/usr/bin/{shell}"
    case = new_case(kind, host=host, shell=path)
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"
    assert case.account.verified_level == level


@both
def test_fi_h_16_start_up_files_that_print_words_of_ours_change_nothing(case: Case):
    noise = (
        "printf 'READY\\nAPPLIED\\nUP\\nDONE\\n\\033[2J'; head -c 300000 /dev/urandom; printf 'no newline'\n"
    )
    for account in ("keyturn", "svc"):
        case.sh(f"cat >/home/{account}/.bashrc", noise.encode())
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"
    assert case.account.verified_level == "command"


@both
def test_fi_h_17_ten_megabytes_of_binary_before_every_answer_are_neither_kept_nor_shown(case: Case):
    case.sh("head -c 900000 /dev/urandom >/etc/banner; printf '\\033[2Jforged banner' >>/etc/banner")
    case.configure_sshd("Banner /etc/banner")
    noise = "printf '\\033[31mforged line\\n'; head -c 10000000 /dev/urandom; echo\n"
    case.host.write("/etc/ssh/sshrc", noise)  # runs before every command, and prints where that prints
    tracemalloc.start()
    try:
        run = case.rotate()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert run.outcome == "succeeded", run.sentence
    assert peak < MOST_BYTES
    shown = str([*Run.objects.values(), *Step.objects.values()])
    assert "forged" not in shown
    assert "\\x1b" not in shown


# -- lies ------------------------------------------------------------------------------------------------


@passwords
def test_fi_h_20_a_host_that_says_changed_and_keeps_the_old_value_is_never_a_success(case: Case):
    case.replace_program(CHPASSWD, f"cat >/dev/null; echo 'svc:{OLD}-svc' | {CHPASSWD}.real")
    lied_to(case)
    case.restore_program(CHPASSWD)
    assert case.rotate().outcome == "succeeded"
    assert case.secret.versions.count() == 2


@keys
def test_fi_h_20_a_host_that_says_added_and_adds_no_key_is_never_a_success(case: Case):
    case.replace_program("/usr/bin/mv", 'case "$*" in *authorized_keys*) exit 0;; esac; exec mv.real "$@"')
    lied_to(case, "reverted")
    case.restore_program("/usr/bin/mv")
    assert case.rotate().outcome == "succeeded"
    assert case.secret.versions.count() == 2


def lied_to(case: Case, code: str = "untrue") -> None:
    kept = case.current
    run = case.rotate()
    assert (run.state, run.code) == ("waiting", "untrue")
    assert case.account.credential == "unverified"
    run = case.finish(run)
    assert (run.outcome, run.truth, run.code) == ("failed", "old", code)
    assert case.current == kept


@keys
def test_fi_h_20_a_host_that_says_removed_and_keeps_the_old_key_is_told_so(case: Case):
    old = case.current
    case.replace_program(
        "/usr/bin/mv",
        'case "$*" in *authorized_keys*) [ ! -e /home/svc/second ] || exit 0; touch /home/svc/second;; esac; '
        'exec mv.real "$@"',
    )
    run = case.rotate()
    assert (run.outcome, run.truth, run.code) == ("failed", "new", "old_key_works")
    assert case.accepts(old)
    case.restore_program("/usr/bin/mv")
    assert case.rotate().outcome == "succeeded"
    assert not case.accepts(old)
