"""What a script on a host answers, and what that says about the host.

A word that the script in question may not give is not believed.
"""

from __future__ import annotations

from typing import Final

from rotation.connectors.base import (
    Busy,
    Level,
    Proof,
    Refused,
    Stale,
    Unknown,
    Unreachable,
    Updated,
    Verdict,
)
from rotation.connectors.reasons import Heard
from rotation.connectors.winrm import reasons
from rotation.connectors.winrm.shell import Said

_REFUSALS: Final = reasons.heard(Heard.ANY | Heard.ACCOUNT)
_UNCLEAR: Final = reasons.heard(Heard.ACCOUNT | Heard.PROBE)
#: MS-ERREF: errors of a logon, in the low half of an HRESULT.
_LOGONS: Final = {
    1331: "disabled", 1385: "no_network_logon", 1793: "account_expired", 1907: "must_change",
    1909: "locked_out",
}  # fmt: skip
#: ... of a change of password, as an HRESULT (lmerr.h, MS-ERREF) and as `Set-LocalUser` names them.
_CHANGES: Final = {
    0x800708C5: "policy", 0x800708AD: "no_such_user", 0x80070005: "not_administrator", 0xC000A08B: "laps",
}  # fmt: skip
_IDS: Final = {
    "InvalidPassword": "policy",
    "UserNotFound": "no_such_user",
    "AccessDenied": "not_administrator",
}
#: Why a dependant was not restarted.
_NOT_RESTARTED: Final = {
    "in_use": "dependant_in_use", "not_stopped": "dependant_not_stopped",
    "not_started": "dependant_not_started",
}  # fmt: skip
#: Access denied: as Win32_Service returns it, and as an error of Windows.
_DENIED: Final = 2
_ACCESS_DENIED: Final = 5


def refused(code: str) -> Refused:
    """What to raise for a host that does not do it, for the reason that this word names."""
    return Refused(reasons.sentence(code), code=code)


def unclear(code: str) -> Proof:
    """No verdict, for the reason that this word names."""
    return Proof(Verdict.UNCLEAR, reason=reasons.sentence(code), code=code)


def expect_ready(said: Said) -> None:
    """Return for a script that waits for a value. Raises `Refused` or `Stale`."""
    match said["say"]:
        case "READY":
            return
        case "STALE":
            raise Stale
        case "REFUSED" if _word(said) in _REFUSALS:
            raise refused(_word(said))
        case _:
            raise refused("odd_answer")


def of_change(said: Said) -> Proof | None:
    """Return what the host's own check made of the value that it has set. Raises as `set_password`."""
    match said["say"]:
        case "APPLIED":
            checked = said.get("checked")
            proof = of_check(checked) if isinstance(checked, dict) else None
            return None if proof is None or proof.code in {"check_failed", "odd_answer"} else proof
        case "ABORTED":
            raise Unreachable(reasons.sentence("late"), code="late")
        case "STALE":
            raise Stale
        case "BUSY":
            raise Busy
        case "REFUSED" if _word(said) in _REFUSALS:
            raise refused(_word(said))
        case "FAILED" if _word(said) == "fence":
            raise refused("no_mark")
        case "ERROR" if code := _why_not_set(said):
            raise refused(code)
        case _:
            raise Unknown(reasons.sentence("unsure"))


def of_update(said: Said) -> Updated:
    """Return what came of giving a dependant the password. Raises as `update_dependant`."""
    match said["say"]:
        case "GIVEN":
            code = _word(said)
            return Updated(
                said.get("restarted") is True, _NOT_RESTARTED.get(code, "odd_answer") if code else ""
            )
        case "GONE":
            raise refused("dependant_gone")
        case "ABORTED":
            raise Unreachable(reasons.sentence("late"), code="late")
        case "STALE":
            raise Stale
        case "BUSY":
            raise Busy
        case "REFUSED" if _word(said) in _REFUSALS:
            raise refused(_word(said))
        case "FAILED":
            raise refused("dependant_denied" if _number(said) == _DENIED else "dependant_refused")
        case "ERROR":
            is_denied = _win32(_number(said) & 0xFFFF_FFFF) == _ACCESS_DENIED
            raise refused("dependant_denied" if is_denied else "dependant_refused")
        case _:
            raise Unknown(reasons.sentence("unsure"))


def of_check(said: Said) -> Proof:
    """Return what the host's own check says of a value."""
    match said.get("say"):
        case "ACCEPTED":
            return Proof(Verdict.ACCEPTED, Level.HASH)
        case "REJECTED":
            return Proof(Verdict.REJECTED, Level.HASH)
        case "UNCLEAR" if _word(said) in _UNCLEAR:
            return unclear(_word(said))
        case "ERROR":
            code = _LOGONS.get(_win32(_number(said)), "check_failed")
            if code == "no_network_logon":
                # Windows asks for the right to log on so only once the password was right; else it says 1326.
                return Proof(Verdict.ACCEPTED, Level.HASH, reasons.sentence(code), code)
            return unclear(code)
        case _:
            return unclear("odd_answer")


def problem(word: object) -> str:
    """Return what keeps an account from a new password, as its own words say; empty for nothing."""
    if not word:
        return ""
    return str(word) if word in reasons.ACCOUNT_PROBLEMS else "odd_answer"


def _word(said: Said) -> str:
    return str(said.get("code", ""))


def _why_not_set(said: Said) -> str:
    """The reason for a change that was not made; empty for an error that does not say so."""
    name = str(said.get("id", "")).partition(",")[0]
    return _IDS.get(name) or _CHANGES.get(_number(said) & 0xFFFF_FFFF, "")


def _win32(number: int) -> int:
    """The Win32 error in an HRESULT, or the number itself; 0 for an HRESULT of another kind."""
    return number & 0xFFFF if number & 0xFFFF_0000 in (0, 0x8007_0000) else 0


def _number(said: Said) -> int:
    for key in ("hresult", "number"):
        value = said.get(key)
        if isinstance(value, int) and value:
            return value
    return 0
