"""The root key in shares, on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.root_keys import addresses, escrow
from secrets_app.root_keys.file import FileRootKey
from secrets_app.root_keys.held import MAGIC

ROOT = Path(__file__).resolve().parents[2]


def on_terminal(
    environment: dict[str, str], *arguments: str, lines: list[str] | None = None
) -> tuple[int, str]:
    """Run `manage.py root_key ...` at a terminal; answer each prompt with the next line, or with Enter."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "manage.py", "root_key", *arguments], environment)  # noqa: S606
    shown, answered, given = b"", 0, list(lines or [])
    try:
        while select.select([terminal], [], [], 120)[0]:
            try:
                heard = os.read(terminal, 65536)
            except OSError:
                break
            if not heard:
                break
            shown += heard
            asked = len(re.findall(rb"not shown again\. |in order: ", shown))
            while answered < asked:
                os.write(terminal, (given.pop(0) if given else "").encode() + b"\n")
                answered += 1
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """A set-up installation of its own."""
    made = {
        name: value for name, value in os.environ.items() if not name.startswith(("KEYTURN_", "DJANGO_"))
    } | {"KEYTURN_DATA": str(tmp_path / "data"), "KEYTURN_ROOT_KEY_FILE": str(tmp_path / "keys" / "root.key")}
    done = subprocess.run(
        [sys.executable, "manage.py", "setup"],
        cwd=ROOT,
        env=made,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made


def shares_in(shown: str) -> list[str]:
    """The shares that a terminal showed."""
    screens = re.split(r"Share \d of 5\.", shown)[1:]
    return [
        " ".join(word for _, word in sorted((int(n), w) for n, w in re.findall(r"(\d+)\. ([a-z]+)", screen)))
        for screen in screens
    ]


def test_shares_that_a_terminal_showed_are_proven_and_bring_a_lost_root_key_back(environment, tmp_path):
    status, shown = on_terminal(environment, "escrow")
    assert status == 0, shown
    shares = shares_in(shown)
    assert [len(share.split()) for share in shares] == [33] * 5
    key = Path(environment["KEYTURN_ROOT_KEY_FILE"])
    before = key.read_bytes()

    status, said = on_terminal(environment, "drill", lines=[shares[4], "a wrong share", shares[0], shares[2]])
    assert status == 0, said
    assert "are the root key of this installation" in said
    assert "mistyped" in said
    assert key.read_bytes() == before
    status, said = on_terminal(environment, "recover", lines=shares[:3])
    assert status != 0
    assert "is there already" in said

    key.unlink()
    status, said = on_terminal(environment, "recover", lines=shares[1:4])
    assert status == 0, said
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o400

    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    for share in shares:
        for words in (share, " ".join(share.split()[4:9])):
            assert words.encode() not in kept


def test_without_a_terminal_no_share_is_shown(environment):
    done = subprocess.run(
        [sys.executable, "manage.py", "root_key", "escrow"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert "on a terminal only" in done.stderr
    assert "Share 1" not in done.stdout


def test_shares_of_another_key_are_named_and_the_drill_fails(environment):
    strangers = [share.reveal() for share in escrow.split(envelope.new_key())]
    status, said = on_terminal(environment, "drill", lines=strangers[:3])
    assert status == 9
    assert "of another root key" in said


# ---------------------------------------------------------------- the shares themselves


def test_any_three_shares_are_the_key_and_two_are_not():
    key = envelope.new_key()
    shares = escrow.split(key)
    for first in range(3):
        assert escrow.join(shares[first : first + 3]) == key
    for unfit in (shares[:2], [shares[0], shares[0], shares[1]], [*shares[:2], escrow.split(key)[2]]):
        with pytest.raises(escrow.NotOneSet):
            escrow.join(unfit)


def test_a_mistyped_share_is_refused_without_repeating_a_word():
    words = escrow.split(envelope.new_key())[0].reveal().split()
    for wrong in (words[:-1], [*words[:-1], "academic"], ["xyzzy", *words[1:]], []):
        if wrong == words:
            continue
        with pytest.raises(escrow.BadShare) as caught:
            escrow.read(Plaintext(" ".join(wrong)))
        assert words[5] not in str(caught.value)
    assert escrow.read(Plaintext("  " + "  ".join(words).upper() + "\n")).reveal() == " ".join(words)


def test_a_lost_root_key_is_never_written_over_another(tmp_path):
    place = tmp_path / "root.key"
    KeyFile(place, MAGIC).create()
    root_key = FileRootKey(addresses.parse(f"file:{place}"))
    with pytest.raises(Exception, match="is there already"):
        root_key.recover(escrow.split(envelope.new_key())[:3])
