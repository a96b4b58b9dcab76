"""FI-P-08 to 15: passwords that PAM refuses, cuts short or writes down, and where no login can prove one."""

from __future__ import annotations

import random
import signal

import pytest

from rotation.connectors.base import Fence
from rotation.connectors.ssh.connector import SshConnector
from rotation.inventory.management import endpoint, manager
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.secrets import versions
from tests.faults.case import OLD, Case, advance
from tests.wires.test_rotation import worker
from tests.wires.test_ssh import AWKWARD

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
passwords = pytest.mark.parametrize("kind", ["password"])
keys = pytest.mark.parametrize("kind", ["key_pair"])
CHPASSWD = "/usr/sbin/chpasswd"
PAM = "/etc/pam.d/common-password"
#: Every character that a record of chpasswd can hold but for the line's end, and some that are not ASCII.
CHARACTERS = [chr(c) for c in range(1, 127) if chr(c) not in "\r\n"] + ["ä", "ß", "€", "日", "\U0001f511"]


def remember_passwords(case: Case) -> None:
    case.sh(f"sed -i '1i password requisite pam_pwhistory.so remember=5 enforce_for_root' {PAM}")


# -- refused ---------------------------------------------------------------------------------------------


@passwords
def test_fi_p_08_a_chosen_value_that_pam_remembers_is_refused_and_the_old_one_kept(case: Case):
    remember_passwords(case)
    assert case.rotate().outcome == "succeeded"
    kept = case.current
    with case.nothing_else_changes():
        run = case.rotate(value=Plaintext(f"{OLD}-svc"), overrides_policy=True, reason="known to PAM")
    assert (run.outcome, run.truth, run.code) == ("failed", "old", "policy"), run.sentence
    assert case.current == kept
    assert case.account.credential == "in_sync"
    assert case.rotate().outcome == "succeeded"


@passwords
def test_fi_p_08_a_generated_value_that_pam_refuses_is_replaced_once_it_is_proven_dead(case: Case):
    case.host.write(
        "/usr/local/bin/judge",
        "#!/bin/sh\necho x >>/run/asked; [ $(wc -l </run/asked) -ge 3 ] || { echo BAD PASSWORD; exit 1; }\n",
        0o755,
    )
    case.sh(f"sed -i '1i password requisite pam_exec.so quiet stdout /usr/local/bin/judge' {PAM}")
    run = case.rotate()
    assert run.outcome == "succeeded", run.sentence
    dead = case.secret.versions.exclude(dead_at=None)
    assert dead.count() in {1, 2}
    assert not any(case.accepts(version) for version in dead)


@passwords
def test_fi_p_08_a_host_that_refuses_everything_is_asked_three_times_and_then_blocked(case: Case):
    case.host.write("/usr/local/bin/judge", "#!/bin/sh\necho BAD PASSWORD; exit 1\n", 0o755)
    case.sh(f"sed -i '1i password requisite pam_exec.so quiet stdout /usr/local/bin/judge' {PAM}")
    with case.nothing_else_changes():
        run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", "policy", 3)
    assert case.accepts(case.current)
    case.sh(f"sed -i 1d {PAM}")
    assert case.rotate().outcome == "succeeded"


@passwords
def test_fi_p_08_a_value_longer_than_pam_takes_never_leaves_the_console(case: Case):
    before = len(case.log_ins())
    with pytest.raises(ValueError, match="511"):
        case.start(value=Plaintext("x" * 512))
    assert not case.secret.runs.active().exists()
    assert len(case.log_ins()) == before


@passwords
@pytest.mark.parametrize("place", ["after_set", "before_finish"])
def test_fi_p_09_a_value_that_is_set_already_is_not_set_again_where_that_would_be_refused(
    case: Case, place: str
):
    remember_passwords(case)
    run = case.start()
    assert worker(run, place).wait(timeout=60) == -signal.SIGKILL
    assert case.pending is not None
    assert case.accepts(case.pending)
    run = advance(run)
    assert (run.outcome, run.attempts) == ("succeeded", 1)
    assert case.secret.versions.count() == 2


@passwords
def test_fi_p_09_a_refusal_of_the_value_that_is_valid_ends_in_success(case: Case):
    """The program is run twice: the second time PAM refuses what the first time set."""
    remember_passwords(case)
    case.replace_program(
        CHPASSWD, f'record=$(cat); echo "$record" | {CHPASSWD}.real; echo "$record" | {CHPASSWD}.real'
    )
    run = case.rotate()
    assert (run.outcome, run.attempts, case.secret.versions.count()) == ("succeeded", 1, 2)


# -- written down ------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("rule", ["Defaults log_input", "keyturn ALL=(root) NOPASSWD: LOG_INPUT: ALL"])
def test_fi_p_10_no_value_goes_to_a_sudo_that_keeps_what_it_reads(case: Case, rule: str):
    case.host.write("/etc/sudoers.d/zz", f"{rule}\n", 0o440)
    run = case.rotate()
    if case.is_key_pair:
        assert run.outcome == "succeeded"  # what sudo reads is public
    else:
        assert (run.outcome, run.code, run.attempts) == ("blocked", "sudo_log", 0)
        assert "!log_input" in run.sentence
    assert case.sh("ls /var/log/sudo-io | wc -l").strip() != "0"  # it did keep the session
    case.sh("find /var/log/sudo-io -type f | while read f; do zcat -f $f >>/run/kept; done")
    case.host.write(
        "/etc/sudoers.d/zz",
        "Defaults:keyturn !log_input\nkeyturn ALL=(root) NOPASSWD: NOLOG_INPUT: ALL\n",
        0o440,
    )
    assert case.rotate().outcome == "succeeded"


# -- ageing, and what a value may hold -----------------------------------------------------------------------


@both
def test_fi_p_11_an_age_below_which_the_account_may_not_change_it_does_not_stop_a_rotation(case: Case):
    case.host.run(["chage", "--mindays", "30", "--lastday", case.sh("date +%F").strip(), "svc"])
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"


@passwords
@pytest.mark.parametrize("half", [0, 1])
def test_fi_p_12_every_awkward_value_is_set_as_it_was_typed(case: Case, half: int):
    # In two parts: a secret keeps so many versions that every one of a part can still be opened.
    for value in [value for value in AWKWARD if value.isprintable()][half::2]:
        run = case.rotate(value=Plaintext(value), overrides_policy=True, reason="awkward")
        assert run.outcome == "succeeded", run.sentence
        assert case.accepts(case.current)
        assert versions.value(case.current).credential.reveal() == value


@passwords
@pytest.mark.parametrize("value", ["two\nlines", "\ttab", "carriage\rreturn", "nul\0byte", "x\nroot:y", ""])
def test_fi_p_12_a_value_that_would_end_the_record_is_refused_where_it_is_typed(case: Case, value: str):
    with pytest.raises(ValueError):  # noqa: PT011 - each says its own reason
        case.start(value=Plaintext(value))
    assert not case.secret.runs.active().exists()


@passwords
def test_fi_p_12_a_thousand_random_values_make_the_round_trip(case: Case):
    chance = random.Random(12)
    values = ["".join(chance.choices(CHARACTERS, k=chance.randint(1, 80))) for _ in range(1000)]
    # In bulk, as chpasswd reads them: one account for each.
    entries = "".join(f"u{n}:x:{20000 + n}:100::/:/bin/false\n" for n in range(1000))
    case.sh("cat >>/etc/passwd", entries.encode())
    case.sh("cat >>/etc/shadow", "".join(f"u{n}:*:19900:0:99999:7:::\n" for n in range(1000)).encode())
    case.sh(f"sed -i 's/yescrypt.*/sha512 rounds=1000/' {PAM}")
    records = "".join(f"u{n}:{value}\n" for n, value in enumerate(values))
    case.host.run(["chpasswd"], records.encode())
    assert [n for n, value in enumerate(values) if not case.host.shadow_accepts(f"u{n}", value)] == []
    case.sh("sed -i '/^u[0-9]/d' /etc/passwd /etc/shadow")
    # And through the script that a rotation runs.
    place, console = endpoint(case.instance), str(case.secret.account_id)
    connector, keyturn = SshConnector(place), manager(case.instance, over=place)
    missed = []
    for generation, value in enumerate(values[:20], 1):
        fence = Fence(console, generation)
        connector.set_password(keyturn, "svc", Plaintext(value), fence=fence, timeout=15)
        missed += [generation] * (not case.host.shadow_accepts("svc", value))
    assert missed == []
    case.shared = False  # these were no secret's
    assert case.rotate().outcome == "succeeded"
    assert case.accepts(case.current)


# -- where no login can prove it -----------------------------------------------------------------------------


@both
def test_fi_p_14_where_sshd_takes_no_passwords_the_hosts_own_check_is_the_proof_and_is_named(case: Case):
    case.configure_sshd("PasswordAuthentication no")
    assert case.rotate().outcome == "succeeded"
    assert case.account.verified_level == ("command" if case.is_key_pair else "hash")
    assert case.failed_logins() == 0


def test_fi_p_14_roots_own_password_is_proven_by_the_hosts_own_check(new_case):
    case = new_case("password", username="root")
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"
    assert case.account.verified_level == "hash"


@keys
def test_fi_p_15_a_host_with_selinux_is_asked_to_label_every_file_anew(case: Case):
    case.host.write("/usr/sbin/restorecon", '#!/bin/sh\necho "$*" >>/tmp/labelled\n', 0o755)
    case.sh("touch /tmp/labelled; chmod 666 /tmp/labelled")
    assert case.rotate().outcome == "succeeded"
    assert case.host.read("/tmp/labelled").split() == [case.file] * 2  # the addition, and the removal


@keys
def test_fi_p_15_a_key_file_that_sshd_may_not_read_is_noticed_by_the_login(case: Case):
    """As with a label that keeps sshd out: every file is in order and the new key opens nothing."""
    kept = case.current
    case.configure_sshd("PubkeyAcceptedAlgorithms -ssh-rsa,rsa-sha2-256,rsa-sha2-512")
    case.rotate()
    run = case.secret.runs.first()
    assert run is not None
    assert (run.outcome, run.truth, run.code) == ("failed", "old", "key_refused")
    assert case.current == kept
