"""Whether the host's check of passwords can say no: asked first, and once its footing has changed."""

import pytest

from lab import Host
from rotation.connectors import base
from rotation.connectors.base import Fence, Level, Proof, Verdict
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig

CHECKER = "/usr/sbin/unix_chkpwd"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


def change(svc: Rig, value: str, generation: int, controlled: str = "") -> Proof:
    proof = svc.connector.set_password(
        svc.manager,
        "svc",
        Plaintext(value),
        fence=Fence(svc.console, generation),
        timeout=20,
        controlled=controlled,
    )
    assert proof is not None
    return proof


def asked(svc: Rig) -> int:
    """How often the check was asked since the last time; it counts in a file of its own."""
    count = svc.host.run(["sh", "-c", "grep -c . /tmp/asked || true; : >/tmp/asked"]).stdout
    return int(count.decode().split()[0])


def counted(svc: Rig) -> None:
    svc.host.run(["sh", "-c", ": >/tmp/asked; chmod 666 /tmp/asked"])
    svc.replace_program(CHECKER, f'echo once >>/tmp/asked; exec {CHECKER}.real "$@"')


def test_only_the_new_value_is_asked_for_while_the_check_stands_on_the_same(svc: Rig) -> None:
    counted(svc)
    first = change(svc, SECOND, 1)
    assert (first.verdict, first.level) == (Verdict.ACCEPTED, Level.HASH)
    assert len(first.control) == 64
    assert asked(svc) == 4  # a random value before, then the new one, a wrong one and a part of it
    second = change(svc, FIRST, 2, first.control)
    assert (second.verdict, second.control, asked(svc)) == (Verdict.ACCEPTED, "", 1)
    assert (
        change(svc, SECOND, 3).control == first.control
    )  # never left out where nobody says that it was asked
    assert asked(svc) == 4


def test_where_a_login_follows_the_check_is_left_out_only_while_it_stands_on_the_same(svc: Rig) -> None:
    counted(svc)

    def set_to(value: str, generation: int, controlled: str) -> Proof | None:
        return svc.connector.set_password(
            svc.manager, "svc", Plaintext(value), fence=Fence(svc.console, generation), timeout=20,
            controlled=controlled, login_follows=True,
        )  # fmt: skip

    first = set_to(SECOND, 1, "")
    assert first is not None
    assert (first.verdict, asked(svc)) == (Verdict.ACCEPTED, 4)
    assert (set_to(FIRST, 2, first.control), asked(svc)) == (None, 0)
    login = svc.connector.prove_login(base.Login("svc", password=Plaintext(FIRST)), timeout=20)
    assert (login.verdict, login.level) == (Verdict.ACCEPTED, Level.COMMAND)
    svc.host.run(["sh", "-c", "echo '# changed' >>/etc/pam.d/common-auth"])
    again = set_to(SECOND, 3, first.control)
    assert again is not None
    assert (again.verdict, asked(svc)) == (Verdict.ACCEPTED, 4)


@pytest.mark.parametrize(
    "what",
    [
        "echo '# changed' >>/etc/pam.d/common-auth",
        "echo '# changed' >>/etc/ssh/sshd_config",
        "touch -d 2001-01-01 $(ls /lib/*/libc.so.6 /lib*/libc.so.6 2>/dev/null | head -n 1)",
        "touch -d 2001-01-01 $(ls /lib/*/security/pam_unix.so /lib*/security/pam_unix.so | head -n 1)",
        "touch -d 2001-01-01 $(ls /lib/*/libpam.so.0 /lib*/libpam.so.0 2>/dev/null | head -n 1)",
        "touch -d 2001-01-01 $(ls /lib/*/libcrypt.so.[12] /lib*/libcrypt.so.[12] 2>/dev/null | head -n 1)",
        "touch -d 2001-01-01 /usr/sbin/sshd",
    ],
    ids=["pam.d", "sshd_config", "libc", "pam_unix", "libpam", "libcrypt", "sshd"],
)
def test_all_of_it_is_asked_again_after_its_footing_changed(svc: Rig, what: str) -> None:
    before = change(svc, SECOND, 1).control
    svc.host.run(["sh", "-c", what])
    after = change(svc, FIRST, 2, before).control
    assert len(after) == 64
    assert after != before


def test_a_setting_that_keeps_its_size_and_its_date_has_changed_even_so(svc: Rig) -> None:
    before = change(svc, SECOND, 1).control
    script = 'touch -r "$1" /tmp/as; printf X | dd of="$1" conv=notrunc 2>/dev/null; touch -r /tmp/as "$1"'
    svc.host.run(["sh", "-c", script, "sh", "/etc/pam.d/other"])
    after = change(svc, FIRST, 2, before).control
    assert len(after) == 64
    assert after != before


def test_a_check_that_says_yes_to_everything_is_found_before_anything_is_changed(svc: Rig) -> None:
    before = change(svc, SECOND, 1).control
    svc.replace_program(CHECKER, "exit 0")
    with pytest.raises(base.Refused) as refusal:
        change(svc, FIRST, 2, before)
    assert refusal.value.code == "accepts_anything"
    assert svc.accepts(SECOND)


def test_a_host_that_cannot_say_what_its_check_stands_on_is_asked_each_time(svc: Rig) -> None:
    counted(svc)
    known = change(svc, SECOND, 1).control
    svc.replace_program("/usr/bin/sha256sum", "exit 1")
    asked(svc)
    assert change(svc, FIRST, 2, known).control == ""
    assert asked(svc) == 4
