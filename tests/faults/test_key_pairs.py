"""FI-K: key files of one account and of several, and a key that is the only way in."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from rotation import runs
from rotation.connectors.base import Login, Verdict
from rotation.connectors.ssh.connector import SshConnector
from rotation.engine import failpoints
from rotation.inventory.management import endpoint
from rotation.models import ManagedAccount
from secrets_app.crypto import key_pairs
from secrets_app.models import SecretVersion
from secrets_app.secrets import versions
from tests import factories
from tests.faults.case import Case, advance
from tests.faults.test_drifted_hosts import go_back, take_snapshot
from tests.wires.test_rotation import worker
from tests.wires.test_ssh_key_pairs import awkward

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.parametrize("kind", ["key_pair"])]
FILE = "/home/svc/.ssh/authorized_keys"


def logs_in(case: Case, version: SecretVersion) -> bool:
    login = Login(case.username, private_key=versions.value(version).private_key)
    proof = SshConnector(endpoint(case.instance)).prove_login(login, timeout=15)
    assert proof.verdict != Verdict.UNCLEAR
    return proof.verdict == Verdict.ACCEPTED


def test_fi_k_01_a_key_that_is_the_only_way_in_is_never_missing(case: Case):
    case.configure_sshd("PasswordAuthentication no")
    case.host.set_authorized_keys("svc", f"{case.current.public_key}\n")
    for _ in range(3):
        seen = look_at_each_place(case, case.current)
        assert case.rotate().outcome == "succeeded"
        failpoints.disarm()
        # The old key goes last, when a login with the new one has succeeded.
        assert seen == [
            ("after_set", True, True),
            ("after_test", True, True),
            ("after_labels", True, True),
            ("after_remove", False, True),
        ]


def look_at_each_place(case: Case, old: SecretVersion) -> list[tuple[str, bool, bool]]:
    """A list that will say for each place of a rotation whether the old and the new key log in there."""
    seen: list[tuple[str, bool, bool]] = []

    def look(place: str) -> None:
        seen.append((place, logs_in(case, old), logs_in(case, newest(case))))

    for place in ("after_set", "after_test", "after_labels", "after_remove"):
        failpoints.arm(place, partial(look, place))
    return seen


def newest(case: Case) -> SecretVersion:
    version = case.secret.versions.first()
    assert version is not None
    return version


def test_fi_k_02_a_host_cut_before_the_removal_has_both_keys_and_is_cleaned_later(case: Case):
    old = case.current

    def cut() -> None:
        case.host.cut()
        case.host.drop_sessions()  # the run's own connection stays open until its end

    failpoints.arm("before_clean", cut)
    run = case.rotate()
    failpoints.disarm()
    assert (run.state, run.code) == ("waiting", "unreachable")
    assert case.current != old
    assert case.accepts(old)
    assert case.accepts(case.current)
    case.host.restore()
    assert case.finish(run).outcome == "succeeded"
    assert not case.accepts(old)
    assert logs_in(case, case.current)


@pytest.mark.parametrize("ending", [b"\n", b""])
def test_fi_k_03_only_our_line_of_the_file_changes_and_keeps_its_options(case: Case, ending: bytes):
    before, ours, after = awkward(case.current.public_key, ending)
    text = before + ours % case.current.public_key.encode() + b"\n" + after
    case.host.run(["sh", "-c", f"cat >{FILE}"], text)
    case.forget_what_was_seen()  # a file half written, by this test
    assert case.rotate().outcome == "succeeded"
    found = case.host.run(["cat", FILE]).stdout
    # The last line gets the end that it lacked.
    assert found == before + ours % case.current.public_key.encode() + b"\n" + after.rstrip(b"\n") + b"\n"


def test_fi_k_04_two_secrets_whose_keys_stand_in_one_file_lose_no_line(case: Case, new_case):
    other = new_case("key_pair", host=case.host, instance=case.instance, username="other")
    others = [key_pairs.generate("ed25519").public_key + f" {n}" for n in range(19)]
    lines = [*others[:10], case.current.public_key, other.current.public_key, *others[10:]]
    case.host.write("/etc/ssh/shared_keys", "".join(f"{line}\n" for line in lines))
    case.configure_sshd("AuthorizedKeysFile /etc/ssh/shared_keys", user="svc,other")
    case.file = other.file = "/etc/ssh/shared_keys"
    for _ in range(3):
        processes = [worker(one.start()) for one in (case, other)]
        assert [process.wait(timeout=60) for process in processes] == [0, 0]
        for one in (case, other):
            run = one.finish(one.secret.runs.first())
            assert run.outcome == "succeeded", run.sentence
    found = [" ".join(line.split()[:2]) for line in case.host.read(case.file).splitlines()]
    mine = [case.current.public_key, other.current.public_key]
    assert found == [" ".join(o.split()[:2]) for o in others[:10]] + mine + [
        " ".join(o.split()[:2]) for o in others[10:]
    ]
    assert len(found) == 21


@pytest.mark.parametrize("place", ["after_create", "after_preflight", "after_intent", "after_set"])
def test_fi_k_05_both_halves_are_stored_before_the_host_hears_of_either(case: Case, place: str):
    run = case.start()
    assert worker(run, place).wait(timeout=60) == -signal.SIGKILL
    assert case.pending is not None
    held = versions.value(case.pending)
    assert key_pairs.read(held.private_key).public_key == held.public_key == case.pending.public_key
    assert case.accepts(case.pending) == (place == "after_set")
    assert advance(run).outcome == "succeeded"
    assert (case.current.public_key, case.secret.versions.count()) == (held.public_key, 2)


def test_fi_k_06_a_key_that_sshd_finds_too_short_is_taken_out_again(case: Case):
    kept = case.current
    case.configure_sshd("RequiredRSASize 3072")
    before = case.host.authorized_keys("svc")
    with case.nothing_else_changes():
        run = case.rotate()
    assert (run.outcome, run.truth, run.code) == ("failed", "old", "key_refused"), run.sentence
    assert case.host.authorized_keys("svc") == before
    assert case.current == kept
    assert logs_in(case, kept)


@pytest.mark.parametrize("where", ["the file", "the folder"])
@pytest.mark.parametrize("whose", ["root", "other"])
def test_fi_k_07_a_link_to_another_accounts_file_is_not_followed(case: Case, where: str, whose: str):
    case.shared = False  # the account itself puts its keys elsewhere
    home = "/root" if whose == "root" else "/home/other"
    if whose == "other":
        case.host.add_account("other", authorized_keys=["# of other"])
    case.sh(
        f"mkdir -p -m 700 {home}/.ssh; echo '# of {whose}' >{home}/.ssh/authorized_keys; rm -r /home/svc/.ssh"
    )
    link = (
        f"mkdir ~/.ssh; ln -s {home}/.ssh/authorized_keys {FILE}"
        if where == "the file"
        else f"ln -s {home}/.ssh ~/.ssh"
    )
    case.host.run(["su", "svc", "-c", link])
    files = f"{home}/.ssh {home}/.ssh/authorized_keys"
    looks = f"stat -c '%n %i %Y %s %a %u' {files}; cat {home}/.ssh/authorized_keys; find /home/svc -ls"
    before = case.sh(looks)
    run = case.rotate()
    assert run.outcome == "blocked"
    assert run.code in {"path", "unreadable", "unwritable"}
    assert case.account.credential == "blocked"
    assert case.sh(looks) == before


SECOND = "/home/svc/.ssh/authorized_keys2"


def put(case: Case, path: str, *lines: str) -> None:
    """Give a file of the account's these lines, KEY standing for its key."""
    text = "".join(line.replace("KEY", case.current.public_key) + "\n" for line in lines)
    case.host.run(["su", "svc", "-c", f"umask 077; cat >{path}"], text.encode())
    case.forget_what_was_seen()  # a file half written, by this test


def lines_of(case: Case, path: str) -> list[str]:
    return case.host.read(path).replace(case.current.public_key, "KEY").splitlines()


def test_fi_r_01_a_key_that_may_only_run_one_command_may_do_no_more_after_a_rotation(case: Case):
    restricted = 'restrict,command="/bin/date" KEY of a job'
    put(case, SECOND, restricted)
    case.file = SECOND
    put(case, FILE, "# nobody's")
    for _ in range(2):
        run = case.rotate()
        assert run.outcome == "succeeded", run.sentence
        assert (lines_of(case, FILE), lines_of(case, SECOND)) == (["# nobody's"], [restricted])


@pytest.mark.parametrize("turned", [False, True], ids=["ours first", "ours last"])
def test_fi_r_04_a_key_on_two_lines_keeps_both(case: Case, turned: bool):
    lines = ['from="127.0.0.0/8" KEY', 'from="10.9.9.9" KEY']
    lines = lines[::-1] if turned else lines
    put(case, FILE, *lines)
    run = case.rotate()
    assert run.outcome == "succeeded", run.sentence
    assert lines_of(case, FILE) == lines
    told = [c["sentence"] for step in run.steps.all() for c in step.evidence if c["name"] == "key_lines"]
    assert len(told) == 1
    assert "1 of them cannot be tested from here (from=)" in told[0]


@pytest.mark.parametrize(
    ("options", "code"), [('from="10.9.9.9"', "key_from"), ('expiry-time="20200101"', "key_expired")]
)
def test_fi_r_05_a_line_that_lets_nobody_in_is_named_and_left_as_it_is(case: Case, options: str, code: str):
    put(case, FILE, f"{options} KEY")
    before = case.host.read(FILE)
    with case.nothing_else_changes():
        run = case.rotate()
        assert (run.outcome, run.code) == ("blocked", code), run.sentence
        verified = case.verify()
    assert (verified.outcome, verified.code) == ("failed", "unclear")
    assert options.partition("=")[0] in verified.sentence
    assert case.account.credential == "not_verified"
    assert case.host.read(FILE) == before


def test_fi_r_07_a_line_that_is_closed_after_the_look_is_the_reason_and_not_the_algorithm(case: Case):
    kept = case.current
    failpoints.arm("after_intent", partial(put, case, FILE, 'from="10.9.9.9" KEY'))
    run = case.rotate()
    failpoints.disarm()
    assert (run.outcome, run.code) == ("failed", "key_from"), run.sentence
    assert case.current == kept
    assert lines_of(case, FILE) == ['from="10.9.9.9" KEY']


def test_fi_r_08_a_key_that_a_snapshot_brought_back_passes_its_options_on(case: Case):
    case.shared = False  # the host's owner goes back to an older state
    put(case, FILE, "no-pty KEY of a job")
    assert case.rotate().outcome == "succeeded"
    older = case.current
    take_snapshot(case)
    assert case.rotate().outcome == "succeeded"
    go_back(case)
    run = case.rotate()
    assert run.outcome == "succeeded", run.sentence
    assert lines_of(case, FILE) == ["no-pty KEY of a job"]
    assert not case.accepts(older)


def test_fi_r_69_a_key_that_sshd_refused_is_checked_by_a_login_until_one_succeeds(case: Case):
    """To stand in its file is no proof of a key that was seen to open nothing from there."""
    assert case.rotate().outcome == "succeeded"
    config = case.host.read("/etc/ssh/sshd_config")
    case.configure_sshd("PubkeyAcceptedAlgorithms -ssh-rsa,rsa-sha2-256,rsa-sha2-512")
    case.finish(runs.reconcile(case.secret, actor=factories.administrator()))
    assert case.accepts(case.current)
    run = case.verify()
    assert (run.outcome, run.code) == ("failed", "key_refused"), run.sentence
    assert ManagedAccount.objects.get().credential == "out_of_sync"
    case.host.write("/etc/ssh/sshd_config", config)
    case.host.restart_sshd()
    assert case.verify().outcome == "succeeded"
    assert ManagedAccount.objects.get().credential == "in_sync"
