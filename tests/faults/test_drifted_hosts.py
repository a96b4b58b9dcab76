"""FI-H-01, 02, 08, 21, FI-P-04, 13: hosts that went back in time, and answers that a person must weigh."""

from __future__ import annotations

import pytest

from rotation import runs
from rotation.managed import rotation_options
from rotation.models import Instance, Run
from secrets_app.crypto.plaintext import Plaintext
from tests import factories
from tests.faults.case import Case, advance

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
passwords = pytest.mark.parametrize("kind", ["password"])
STATE = "/etc/shadow /var/lib/keyturn /home/svc"


def rotated(case: Case, times: int) -> None:
    for _ in range(times):
        assert case.rotate().outcome == "succeeded"


def take_snapshot(case: Case) -> None:
    case.sh(f"tar -cpf /run/snapshot {STATE} 2>/dev/null")


def go_back(case: Case) -> None:
    case.sh("rm -rf /var/lib/keyturn /home/svc; tar -xpf /run/snapshot -C /; rm /run/snapshot")


def drift(case: Case) -> Run:
    return advance(runs.drift(case.secret, actor=factories.administrator()))


# -- set back ----------------


@both
def test_fi_h_01_a_snapshot_from_two_versions_ago_is_named_and_put_right(case: Case):
    rotated(case, 1)
    old = case.current
    take_snapshot(case)
    rotated(case, 2)
    kept = case.current
    assert drift(case).outcome == "succeeded"
    go_back(case)
    assert [case.accepts(version) for version in (kept, old)] == [False, True]
    run = drift(case)
    assert (run.outcome, run.code) == ("failed", "snapshot"), run.sentence
    assert f"Version {old.version_id}" in run.sentence
    assert case.account.credential == "out_of_sync"
    run = advance(runs.reconcile(case.secret, actor=factories.administrator()))
    assert run.outcome == "succeeded", run.sentence
    assert case.current == kept
    assert case.accepts(kept)
    assert case.account.credential == "in_sync"
    assert case.failed_logins() == 0
    rotated(case, 1)


@both
def test_fi_h_01_where_the_secret_says_so_a_host_set_back_is_put_right_by_nobody(case: Case):
    rotation_options.change_options(
        case.secret, actor=factories.administrator(),
        ends_sessions=False, proves_old_refused=False, reconciles=True,
    )  # fmt: skip
    rotated(case, 1)
    take_snapshot(case)
    rotated(case, 1)
    go_back(case)
    assert drift(case).code == "snapshot"
    run = case.secret.runs.active().get()
    assert (run.kind, run.trigger) == ("reconcile", "drift")
    assert advance(run).outcome == "succeeded"
    assert case.accepts(case.current)


@both
def test_fi_h_01_a_rotation_of_a_host_set_back_goes_on_from_there(case: Case):
    rotated(case, 1)
    take_snapshot(case)
    rotated(case, 1)
    go_back(case)
    rotated(case, 1)
    assert case.failed_logins() == 0


@both
def test_fi_h_02_a_host_with_none_of_the_kept_values_is_told_so_and_put_right(case: Case):
    case.shared = False
    if case.is_key_pair:
        case.host.set_authorized_keys("svc", "# none of ours\n")
    else:
        case.host.set_password("svc", "older-than-Anything-that-was-kept")
    run = drift(case)
    assert (run.outcome, run.truth) == ("failed", "neither"), run.sentence
    assert "No kept value works" in run.sentence
    assert not case.secret.runs.active().exists()
    assert case.failed_logins() == 0
    rotated(case, 1)
    case.shared = True
    case.forget_what_was_seen()


@both
def test_fi_h_02_a_snapshot_with_an_older_management_key_too_is_blocked_and_never_tried_again(
    case: Case, management_key
):
    rotated(case, 1)
    take_snapshot(case)
    rotated(case, 1)
    go_back(case)
    case.host.set_authorized_keys("keyturn", "# an older key\n")
    seen = case.host.sshd_log().count("Failed publickey for keyturn")
    for run in (drift(case), case.rotate()):
        assert (run.state, run.outcome, run.code) == ("ended", "blocked", "login_refused")
        assert case.instance.credential.name in run.sentence
    assert case.host.sshd_log().count("Failed publickey for keyturn") - seen == 2
    assert case.account.credential == "blocked"
    assert not case.secret.runs.active().exists()
    case.host.set_authorized_keys("keyturn", f"{management_key.public}\n")
    rotated(case, 1)


@both
def test_fi_h_08_a_file_lost_with_the_power_is_a_snapshot_of_depth_one(case: Case):
    rotated(case, 1)
    file = case.file if case.is_key_pair else "/etc/shadow"
    case.sh(f"cp -a {file} /run/before")
    old = case.current
    rotated(case, 1)
    case.sh(f"cp -a /run/before {file}; rm /run/before")
    assert [case.accepts(version) for version in (case.current, old)] == [False, True]
    run = drift(case)
    assert run.outcome == "failed"
    assert f"Version {old.version_id}" in run.sentence
    assert case.account.credential == "out_of_sync"
    run = advance(runs.reconcile(case.secret, actor=factories.administrator()))
    assert run.outcome == "succeeded", run.sentence
    assert case.accepts(case.current)


# -- hosts that say yes to everything, or to half a value ----------------


@both
def test_fi_h_21_a_host_that_lets_a_random_password_in_is_blocked_before_it_is_told_anything(case: Case):
    Instance.objects.filter(pk=case.instance.pk).update(control_at=None)
    case.sh("sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/sshd")
    run = case.rotate()
    if case.is_key_pair:
        assert run.outcome == "succeeded"
        return
    assert (run.outcome, run.code, run.attempts) == ("blocked", "accepts_anything", 0), run.sentence
    case.sh("sed -i 1d /etc/pam.d/sshd")
    rotated(case, 2)
    assert case.failed_logins() == 1  # the control: once a day, and not once a rotation


@passwords
def test_fi_h_21_a_check_that_says_yes_to_everything_is_no_proof(case: Case):
    case.replace_program("/usr/sbin/unix_chkpwd", "exit 0")
    run = case.rotate()
    assert (run.outcome, run.code) == ("blocked", "accepts_anything"), run.sentence
    case.restore_program("/usr/sbin/unix_chkpwd")
    rotated(case, 1)
    assert case.secret.versions.count() == 2


@passwords
@pytest.mark.parametrize("option", ["", "blowfish"], ids=["DES", "bcrypt"])
def test_fi_p_13_a_host_that_reads_only_the_beginning_of_a_value_is_blocked(case: Case, option: str):
    long = "a-Value-of-many-Letters-9" * (4 if option else 1)
    method = "BCRYPT" if option else "DES"
    case.sh(f"sed -i 's/^ENCRYPT_METHOD.*/ENCRYPT_METHOD {method}/' /etc/login.defs")
    case.sh(f"sed -i 's/obscure yescrypt/obscure {option}/' /etc/pam.d/common-password")
    run = case.rotate(value=Plaintext(long), overrides_policy=True, reason="as long as it counts")
    assert (run.outcome, run.code) == ("blocked", "truncates"), run.sentence
    case.sh("sed -i 's/^ENCRYPT_METHOD.*/ENCRYPT_METHOD YESCRYPT/' /etc/login.defs")
    case.sh("sed -i 's/pam_unix.so obscure.*/pam_unix.so obscure yescrypt/' /etc/pam.d/common-password")
    rotated(case, 1)


# -- what somebody may let pass ----------------


@passwords
def test_fi_p_04_a_password_that_must_be_changed_is_rotated_by_an_override_that_is_kept(case: Case):
    case.host.run(["chage", "-d", "0", "svc"])
    run = case.rotate()
    assert (run.outcome, run.code) == ("blocked", "must_change")
    with case.nothing_else_changes():
        run = case.rotate(overrides=["must_change"], reason="the owner has left")
    assert run.outcome == "succeeded", run.sentence
    assert (run.overrides, run.reason) == (["must_change"], "the owner has left")
    assert case.account.verified_level == "command"
    assert "must be changed" not in case.sh("chage -l svc")
    evidence = str(list(run.steps.values_list("sentence", "evidence")))
    assert "the owner has left" in evidence
    assert "no longer demands a change" in evidence
