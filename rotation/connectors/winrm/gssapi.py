"""The few functions of the GSS-API that a Kerberos logon needs, of the system's own MIT library.

Declared as RFC 2744 has them, and MIT's gssapi_ext.h. The library is loaded when it is first
needed. A handle that it gives is released when its object is collected. Until then the library keeps the
password and the tickets in this process, and in no file.
"""

from __future__ import annotations

import functools
from typing import Any, Final, TypeVar

import cffi

Answer = TypeVar("Answer")

#: Of the Debian package libgssapi-krb5-2; other systems have the same file.
_FILE: Final = "libgssapi_krb5.so.2"

DECLARED: Final = """
typedef uint32_t OM_uint32;
typedef struct { OM_uint32 length; void *elements; } gss_OID_desc, *gss_OID;
typedef struct { size_t count; gss_OID elements; } gss_OID_set_desc, *gss_OID_set;
typedef struct { size_t length; void *value; } gss_buffer_desc, *gss_buffer_t;
typedef struct { OM_uint32 type; gss_buffer_desc buffer; } gss_iov_buffer_desc;
typedef struct {
    OM_uint32 initiator_addrtype; gss_buffer_desc initiator_address;
    OM_uint32 acceptor_addrtype; gss_buffer_desc acceptor_address;
    gss_buffer_desc application_data;
} *gss_channel_bindings_t, gss_channel_bindings_desc;
typedef void *gss_name_t;
typedef void *gss_cred_id_t;
typedef void *gss_ctx_id_t;
OM_uint32 gss_import_name(OM_uint32 *, gss_buffer_t, gss_OID, gss_name_t *);
OM_uint32 gss_release_name(OM_uint32 *, gss_name_t *);
OM_uint32 gss_acquire_cred_with_password(OM_uint32 *, gss_name_t, gss_buffer_t, OM_uint32, gss_OID_set, int,
    gss_cred_id_t *, gss_OID_set *, OM_uint32 *);
OM_uint32 gss_release_cred(OM_uint32 *, gss_cred_id_t *);
OM_uint32 gss_init_sec_context(OM_uint32 *, gss_cred_id_t, gss_ctx_id_t *, gss_name_t, gss_OID, OM_uint32,
    OM_uint32, gss_channel_bindings_t, gss_buffer_t, gss_OID *, gss_buffer_t, OM_uint32 *, OM_uint32 *);
OM_uint32 gss_delete_sec_context(OM_uint32 *, gss_ctx_id_t *, gss_buffer_t);
OM_uint32 gss_wrap_iov(OM_uint32 *, gss_ctx_id_t, int, OM_uint32, int *, gss_iov_buffer_desc *, int);
OM_uint32 gss_unwrap(OM_uint32 *, gss_ctx_id_t, gss_buffer_t, gss_buffer_t, int *, OM_uint32 *);
OM_uint32 gss_release_buffer(OM_uint32 *, gss_buffer_t);
OM_uint32 gss_release_iov_buffer(OM_uint32 *, gss_iov_buffer_desc *, int);
"""

#: 1.2.840.113554.1.2.2 (RFC 4121), its principal names (RFC 1964), and services of hosts (RFC 2743).
_KERBEROS: Final = bytes.fromhex("2a864886f712010202")
_PRINCIPAL: Final = bytes.fromhex("2a864886f71201020201")
_SERVICE: Final = bytes.fromhex("2a864886f71201020104")
_INITIATE: Final = 1
_CONTINUE: Final = 1
#: Mutual, replay, sequence, confidential, integrity.
FLAGS: Final = 2 | 4 | 8 | 16 | 32
_HEADER, _DATA, _PADDING, _ALLOCATE = 2, 1, 9, 0x10000


class Missing(Exception):
    """The system has no library of Kerberos."""


class Failed(Exception):
    """The library refused; `major` is RFC 2744's number, `minor` MIT Kerberos' own."""

    def __init__(self, major: int, minor: int) -> None:
        super().__init__(f"{major:#x} {minor}")
        self.major = major
        self.minor = minor


@functools.cache
def _declared() -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef(DECLARED)
    return ffi


@functools.cache
def _library() -> Any:
    try:
        return _declared().dlopen(_FILE)
    except OSError:
        raise Missing from None


class _Texts:
    """What the library reads during one call; it is kept alive as long as this is."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def buffer(self, text: bytes) -> Any:
        held = _declared().from_buffer(bytearray(text))
        made = _declared().new("gss_buffer_t", {"length": len(text), "value": held})
        self._kept += [held, made]
        return made

    def oid(self, coded: bytes) -> Any:
        held = _declared().from_buffer(coded)
        made = _declared().new("gss_OID", {"length": len(coded), "elements": held})
        self._kept += [held, made]
        return made


class Initiator:
    """One logon at a service, from the password to the sealed messages. Not shared between threads."""

    def __init__(self, principal: str, password: str, service: str, bindings: bytes = b"") -> None:
        """Name both sides: `service` is `HTTP@host`, and `bindings` what the TLS connection says of itself.

        This asks no server. Raises `Missing` or `Failed`.
        """
        self._ffi, self._lib = _declared(), _library()
        self._texts = _Texts()
        self._context = self._owned("gss_ctx_id_t", lambda held: self._lib.gss_delete_sec_context(
            self._ffi.new("OM_uint32 *"), held, self._ffi.NULL))  # fmt: skip
        self._service = self._name(service, _SERVICE)
        self._credential = self._acquired(self._name(principal, _PRINCIPAL), password)
        self._bindings = self._bound(bindings)
        self.is_established = False

    def step(self, token: bytes = b"") -> bytes:
        """Take what the service answered, nothing at first, and return what it is sent.

        The first time asks the key distribution center. Raises `Failed`.
        """
        minor, texts = self._ffi.new("OM_uint32 *"), _Texts()
        made = self._ffi.new("gss_buffer_t")
        flags = self._ffi.new("OM_uint32 *")
        major = self._lib.gss_init_sec_context(
            minor, self._credential[0], self._context, self._service[0], self._texts.oid(_KERBEROS), FLAGS, 0,
            self._bindings, texts.buffer(token), self._ffi.NULL, made, flags, self._ffi.NULL,
        )  # fmt: skip
        self._require(major, minor)
        self.is_established = major & _CONTINUE == 0
        if self.is_established and flags[0] & FLAGS != FLAGS:
            raise Failed(0, 0)  # the service did not show itself, or nothing can be sealed
        return self._taken(made)

    def seal(self, message: bytes) -> tuple[bytes, bytes]:
        """Return a message encrypted, and the signature that goes before it. Raises `Failed`."""
        minor, texts = self._ffi.new("OM_uint32 *"), _Texts()
        text = texts.buffer(message)
        parts = self._ffi.new("gss_iov_buffer_desc[3]")
        parts[0].type, parts[1].type, parts[2].type = _HEADER | _ALLOCATE, _DATA, _PADDING | _ALLOCATE
        parts[1].buffer = text[0]
        sealed = self._ffi.new("int *")
        major = self._lib.gss_wrap_iov(minor, self._context[0], 1, 0, sealed, parts, 3)
        try:
            self._require(major, minor)
            if not sealed[0]:
                raise Failed(0, 0)
            signature, data, padding = (
                bytes(self._ffi.buffer(part.buffer.value, part.buffer.length)) if part.buffer.length else b""
                for part in parts
            )
        finally:
            self._lib.gss_release_iov_buffer(minor, parts, 3)
        return data + padding, signature

    def unseal(self, message: bytes) -> bytes:
        """Return the text of an encrypted message with its signature before it. Raises `Failed`."""
        minor, texts = self._ffi.new("OM_uint32 *"), _Texts()
        made, was_sealed = self._ffi.new("gss_buffer_t"), self._ffi.new("int *")
        major = self._lib.gss_unwrap(
            minor, self._context[0], texts.buffer(message), made, was_sealed, self._ffi.NULL
        )
        self._require(major, minor)
        text = self._taken(made)
        if not was_sealed[0]:
            raise Failed(0, 0)
        return text

    def _acquired(self, principal: Any, password: str) -> Any:
        # MIT Kerberos keeps the password and the tickets with this handle, in memory, and in no file.
        minor, texts = self._ffi.new("OM_uint32 *"), _Texts()
        credential = self._owned(
            "gss_cred_id_t", lambda held: self._lib.gss_release_cred(self._ffi.new("OM_uint32 *"), held)
        )
        mechanisms = self._ffi.new("gss_OID_set", {"count": 1, "elements": texts.oid(_KERBEROS)})
        major = self._lib.gss_acquire_cred_with_password(
            minor, principal[0], texts.buffer(password.encode()), 0, mechanisms, _INITIATE, credential,
            self._ffi.NULL, self._ffi.NULL,
        )  # fmt: skip
        self._require(major, minor)
        return credential

    def _name(self, text: str, kind: bytes) -> Any:
        minor, texts = self._ffi.new("OM_uint32 *"), _Texts()
        name = self._owned(
            "gss_name_t", lambda held: self._lib.gss_release_name(self._ffi.new("OM_uint32 *"), held)
        )
        major = self._lib.gss_import_name(minor, texts.buffer(text.encode()), texts.oid(kind), name)
        self._require(major, minor)
        return name

    def _bound(self, bindings: bytes) -> Any:
        if not bindings:
            return self._ffi.NULL
        made = self._ffi.new("gss_channel_bindings_t")
        made.application_data = self._texts.buffer(bindings)[0]
        return made

    def _owned(self, kind: str, release: Any) -> Any:
        return self._ffi.gc(self._ffi.new(f"{kind} *"), release)

    def _taken(self, made: Any) -> bytes:
        text = bytes(self._ffi.buffer(made.value, made.length)) if made.length else b""
        self._lib.gss_release_buffer(self._ffi.new("OM_uint32 *"), made)
        return text

    def _require(self, major: int, minor: Any) -> None:
        if major & 0xFFFF0000:
            number = int(minor[0])
            raise Failed(int(major), number - (1 << 32) if number >= 1 << 31 else number)
