"""Password policies, and passwords made and checked by them.

Imports no other room. Alphabets hold nothing that a shell, a form, chpasswd(8) or a CSV file would mangle,
and no character that a person takes for another where that can be had.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError

SETS = {
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "digits": "0123456789",
    "symbols": "!#%+,-./:=?@^_~",
}
#: What a rule about a set asks for, in words.
CALLED = {
    "lower": "a lower-case letter (a-z)",
    "upper": "an upper-case letter (A-Z)",
    "digits": "a digit (0-9)",
    "symbols": f"a symbol ({SETS['symbols']})",
}
LEAST_LENGTH, MOST_LENGTH = 14, 127
LEAST_BITS = 128
LIMIT_BYTES = 511  # PAM_MAX_RESP_SIZE is 512 with the final NUL: pam(3) refuses more


class Unfit(DomainError, ValueError):
    """This policy or this password cannot be used; the message says why and what to do."""

    code = "password_unfit"


class OffPolicy(Unfit):
    """This password does not meet the secret's password policy; the message names the broken rules."""

    code = "password_off_policy"


@dataclass(frozen=True)
class Policy:
    """Which passwords a secret's rotations make. The default is 32 characters of four sets."""

    length: int = 32
    sets: tuple[str, ...] = tuple(SETS)
    excluded: str = ""

    @property
    def alphabet(self) -> str:
        return "".join(ch for chosen in self._chosen for ch in chosen)

    @property
    def bits(self) -> float:
        """The strength of a generated password; the rule of one from each set costs less than a bit."""
        size = len(self.alphabet)
        return self.length * math.log2(size) if size > 1 else 0.0

    @property
    def _chosen(self) -> list[str]:
        return ["".join(ch for ch in SETS[key] if ch not in self.excluded) for key in self.sets]

    def check(self) -> Policy:
        """Return self. Raises `Unfit` with the sentence that a form shows."""
        if unknown := set(self.sets) - set(SETS):
            raise Unfit(f"Unknown character set: {', '.join(sorted(unknown))}.")
        if not LEAST_LENGTH <= self.length <= MOST_LENGTH:
            raise Unfit(f"A password has {LEAST_LENGTH} to {MOST_LENGTH} characters.")
        if not self.sets or not all(self._chosen):
            raise Unfit("Each chosen set needs at least one character that is not excluded.")
        if self.bits < LEAST_BITS:
            raise Unfit(
                f"These rules give {self.bits:.0f} bits; at least {LEAST_BITS} are needed. Make it longer."
            )
        return self

    def generate(self) -> Plaintext:
        """Make a password with at least one character of each chosen set, each place equally likely."""
        chosen = self._chosen
        while True:  # drawing again keeps every allowed password equally likely
            drawn = [secrets.choice(self.alphabet) for _ in range(self.length)]
            if all(any(ch in characters for ch in drawn) for characters in chosen):
                return Plaintext("".join(drawn))

    def broken_by(self, value: Plaintext) -> str:
        """Return the rules that a chosen password breaks, as sentences; empty if it keeps them all.

        It keeps them if a rotation could have made it, or a longer one. The sentences never name the value.
        """
        text = value.reveal()
        broken = []
        if len(text) < self.length:
            broken.append(f"The password policy asks for at least {self.length} characters.")
        for key, characters in zip(self.sets, self._chosen, strict=True):
            if not set(text) & set(characters):
                broken.append(f"The password policy asks for {CALLED[key]}.")
        if set(text) - set(self.alphabet) - set(self.excluded):
            broken.append("The password policy allows no other characters than those of its sets.")
        if set(text) & set(self.excluded):
            broken.append(f"The password policy excludes these characters: {self.excluded}")
        return " ".join(broken)

    def as_json(self) -> dict[str, object]:
        return {"length": self.length, "sets": list(self.sets), "excluded": self.excluded}


def policy(stored: Mapping[str, object]) -> Policy:
    """Return the policy that `as_json` wrote; an empty mapping is the default one."""
    if not stored:
        return Policy()
    sets = stored.get("sets", ())
    return Policy(
        length=int(str(stored.get("length", 32))),
        sets=tuple(str(name) for name in sets) if isinstance(sets, list | tuple) else (),
        excluded=str(stored.get("excluded", "")),
    )


def check_value(value: Plaintext) -> Plaintext:
    """Return `value` if a host can take it as a password. Raises `Unfit`, never naming the value.

    CR, LF or NUL would end the record in chpasswd(8) and change another account.
    """
    text = value.reveal()
    if not text:
        raise Unfit("Enter a password.")
    if any(ord(ch) < 32 or ord(ch) == 127 for ch in text):
        raise Unfit("A password cannot hold a line break, a NUL or another control character. Remove it.")
    if len(value.encode()) > LIMIT_BYTES:
        raise Unfit(f"A password has at most {LIMIT_BYTES} bytes.")
    return value
