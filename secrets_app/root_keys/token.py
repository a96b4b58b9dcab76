"""The root key in a PKCS#11 token: a hardware module, or SoftHSM, which is software.

The key is made in the token and never leaves it: it is sensitive and not extractable, and one that can be
extracted is refused. Material is encrypted by it there (AES-256-GCM, a fresh nonce). A PIN that the token has
refused is not tried again by this process, and no PIN is tried when a wrong one would lock the token.

A token that was taken out is found again when it is back: the library is then started afresh, since many look
for tokens only when they start. Two keys with one label, or two tokens, are refused: which one was meant is
not guessed. Source: PKCS #11 v2.40; python-pkcs11.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

from secrets_app.crypto import envelope, key_files
from secrets_app.root_keys import Unavailable
from secrets_app.root_keys.addresses import Address
from secrets_app.root_keys.wrapped import Provider, pack, unpack

_T = TypeVar("_T")

EXTRA: Final = "It needs requirements-root-keys.lock; ./keyturn installs it while KEYTURN_ROOT_KEY names it."
TRIES_TO_MAKE: Final = 20
#: Seconds before each try of one use. While another process writes there, a token in files is not seen.
_TRIES: Final = (0.0, 0.0, 0.1, 0.3)
# Encrypted by the key, these bytes tell it from another one. No counter block of GCM begins like them.
_CONTROL: Final = hashlib.sha256(b"keyturn key id of a token").digest()[:16]
_TAG_BITS: Final = 128


class _Library:
    """A module of this process. Its users take its lock; `generation` counts how often it was started."""

    def __init__(self, path: str, is_forked: bool) -> None:
        try:
            import pkcs11
        except ImportError:
            raise Unavailable(f"Python's PKCS#11 library is not installed. {EXTRA}") from None
        self.lock, self.generation = threading.RLock(), 0
        try:
            self.module: Any = pkcs11.lib(path)
            if is_forked:  # what the parent began is not this process's
                self.module.reinitialize()
        except (pkcs11.PKCS11Error, RuntimeError, OSError):
            raise Unavailable(f"The PKCS#11 module {path} cannot be loaded.") from None

    def restart(self) -> None:
        self.generation += 1
        self.module.reinitialize()


_FIRST_PROCESS: dict[str, int] = {}
_loading = threading.Lock()


def _library(path: str, process: int) -> _Library:
    # Of two threads that come first at once, each would have one of its own, and restart it under the other.
    with _loading:
        return _loaded(path, process)


@cache
def _loaded(path: str, process: int) -> _Library:
    return _Library(path, is_forked=_FIRST_PROCESS.setdefault(path, process) != process)


def _after_fork() -> None:
    global _loading  # the parent's may be held by a thread that is not here
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


class TokenRootKey:
    """An AES-256 key in the token of its address."""

    def __init__(self, address: Address) -> None:
        self._path, self._pin_file = address.path("module-path"), address.path("pin-source")
        self._token, self._object = address.attributes["token"], address.attributes["object"]
        self._serial = address.attributes.get("serial", "")
        self._session: Any = None
        self._generation = -1
        self._process = 0
        self._mark, self._refused_pin = secrets.token_bytes(16), b""

    def __str__(self) -> str:
        return f"The key {self._object} of the token {self._token}"

    def key_id(self) -> bytes:
        return self._with_key(lambda key: hashlib.sha256(b"token" + _control(key)).digest()[:16])

    def wrap(self, material: bytes) -> bytes:
        nonce = os.urandom(envelope.NONCE_BYTES)
        return pack(Provider.PKCS11, nonce + self._with_key(lambda key: _encrypt(key, material, nonce)))

    def unwrap(self, wrapped: bytes) -> bytes:
        body = unpack(Provider.PKCS11, wrapped)
        nonce, sealed = body[: envelope.NONCE_BYTES], body[envelope.NONCE_BYTES :]
        return self._with_key(lambda key: _decrypt(key, sealed, nonce))

    def make(self) -> bool:
        """Make the key in the token. Of several makers at once one's key stays, and the others find it."""
        mine = os.urandom(8)
        problem = Unavailable(f"{self} could not be made: other processes make it at the same time.")
        for _ in range(TRIES_TO_MAKE):
            try:
                made = self._in_session(lambda session: self._make_alone(session, mine))
            except Unavailable as error:
                # A token in files cannot be read while another process writes there.
                made, problem = None, error
            if made is not None:
                return made
            # Or both have taken theirs back. They must not meet again at the same moment.
            time.sleep(secrets.randbelow(50) / 1000)
        raise problem

    def forget(self) -> None:
        """Nothing of the key is ever in this process."""

    def _make_alone(self, session: Any, mine: bytes) -> bool | None:
        """True where the key was made, False where there is one, None where another maker came in between.

        `mine` is the id of the one that this call makes: a try before may have made it, and seen no more.
        """
        from pkcs11 import Attribute, KeyType

        if found := list(self._keys(session)):
            own = [key for key in found if bytes(key[Attribute.ID]) == mine]
            if own and len(found) > 1:
                own[0].destroy()
                return None
            return bool(own)
        template = {
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
            Attribute.WRAP: False,
            Attribute.UNWRAP: False,
        }
        made = session.generate_key(
            KeyType.AES, 256, label=self._object, id=mine, store=True, template=template
        )
        # Of two, the one who looks last sees both keys, and takes its own back: never none sees another's.
        if len(list(self._keys(session))) > 1:
            made.destroy()
            return None
        return True

    # ---------------------------------------------------------------- the token

    def _with_key(self, work: Callable[[Any], _T]) -> _T:
        return self._in_session(lambda session: work(self._key(session)))

    def _in_session(self, work: Callable[[Any], _T]) -> _T:
        library = _library(str(self._path), os.getpid())
        import pkcs11

        pin_errors = (pkcs11.PinIncorrect, pkcs11.exceptions.PinLocked, pkcs11.exceptions.PinExpired)
        with library.lock:
            for number, pause in enumerate(_TRIES, 1):
                time.sleep(pause)
                try:
                    return work(self._open(library))
                except pin_errors as error:
                    self._session = None
                    raise Unavailable(f"{self} cannot be used: {_why(error)}.") from None
                except (pkcs11.PKCS11Error, _NotThere) as error:
                    self._session = None
                    if number == len(_TRIES):
                        raise Unavailable(f"{self} cannot be used: {_why(error)}.") from None
                try:
                    library.restart()
                except pkcs11.PKCS11Error as error:
                    raise Unavailable(f"{self} cannot be used: {_why(error)}.") from None
        raise AssertionError("the last try returns or raises")

    def _open(self, library: _Library) -> Any:
        if self._session is not None and (self._generation, self._process) == (
            library.generation,
            os.getpid(),
        ):
            return self._session
        token = self._find_token(library)
        pin = self._pin()
        mark = hashlib.sha256(self._mark + pin.encode()).digest()
        if mark == self._refused_pin:
            raise Unavailable(
                f"{self} cannot be used: the PIN in {self._pin_file} was refused. Correct the file."
            )
        self._refuse_last_try(token)
        try:
            self._session = token.open(rw=True, user_pin=pin)
        except Exception as error:
            if type(error).__name__ == "UserAlreadyLoggedIn":  # by another key of this module
                self._session = token.open(rw=True)
            elif type(error).__name__ in {"PinIncorrect", "PinInvalid", "PinLenRange"}:
                self._refused_pin = mark
                raise Unavailable(
                    f"{self} cannot be used: the PIN in {self._pin_file} was refused."
                ) from None
            else:
                raise
        self._generation, self._process = library.generation, os.getpid()
        return self._session

    def _pin(self) -> str:
        try:
            return key_files.read_private(self._pin_file)
        except key_files.Unreadable as error:
            raise Unavailable(f"{self} cannot be used. {error}") from None

    def _refuse_last_try(self, token: Any) -> None:
        from pkcs11.constants import TokenFlag

        if token.flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
            raise Unavailable(
                f"{self} cannot be used: the token is locked, or the next wrong PIN locks it. "
                "Enter the PIN with the token's own tool."
            )

    def _find_token(self, library: _Library) -> Any:
        found = [slot.get_token() for slot in library.module.get_slots(token_present=True)]
        found = [token for token in found if token.label == self._token and _serial(token)]
        if self._serial:
            found = [token for token in found if _serial(token) == self._serial]
        if not found:
            raise _NotThere("no such token is there")
        if len(found) > 1:
            serials = ", ".join(sorted(_serial(token) for token in found))
            raise Unavailable(
                f"{len(found)} tokens are labelled {self._token}. Add ;serial= to the address: {serials}."
            )
        return found[0]

    def _keys(self, session: Any) -> Any:
        from pkcs11 import Attribute, ObjectClass

        return session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: self._object})

    def _key(self, session: Any) -> Any:
        from pkcs11 import Attribute

        found = list(self._keys(session))
        if not found:
            raise _NotThere("no such key is in it")
        if len(found) > 1:
            raise Unavailable(f"{len(found)} keys of the token {self._token} are labelled {self._object}.")
        key = found[0]
        if key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
            raise Unavailable(
                f"{self} can be taken out of the token, so it is no root key. Make another one."
            )
        return key


class _NotThere(Exception):
    """The token or the key is not there; it may be after the library looked again."""


def _serial(token: Any) -> str:
    serial = token.serial
    return (serial.decode(errors="replace") if isinstance(serial, bytes) else str(serial)).strip()


def _control(key: Any) -> bytes:
    from pkcs11 import Mechanism

    return bytes(key.encrypt(_CONTROL, mechanism=Mechanism.AES_CBC, mechanism_param=bytes(16)))


def _encrypt(key: Any, material: bytes, nonce: bytes) -> bytes:
    from pkcs11 import GCMParams, Mechanism

    how = GCMParams(nonce, b"", _TAG_BITS)
    return bytes(key.encrypt(material, mechanism=Mechanism.AES_GCM, mechanism_param=how))


def _decrypt(key: Any, sealed: bytes, nonce: bytes) -> bytes:
    """Return what was encrypted. Raises `envelope.Tampered`, where the key itself works."""
    import pkcs11

    how = pkcs11.GCMParams(nonce, b"", _TAG_BITS)
    try:
        return bytes(key.decrypt(sealed, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=how))
    except pkcs11.PKCS11Error:
        # A token says a wrong tag in its own words, SoftHSM with those of any failure. Does the key work at
        # all?
        _control(key)
    raise envelope.Tampered("This does not open: another key wrapped it, or it was changed since.")


def _why(error: Exception) -> str:
    """What went wrong, in words; an error of the library has a name and seldom a text."""
    if isinstance(error, _NotThere):
        return str(error)
    words = {
        "PinLocked": "its PIN is locked",
        "PinExpired": "its PIN has expired",
        "PinIncorrect": "the PIN is wrong",
        "DeviceRemoved": "the token was taken out",
        "TokenNotPresent": "the token was taken out",
    }
    return words.get(type(error).__name__, f"the module answered {type(error).__name__}")
