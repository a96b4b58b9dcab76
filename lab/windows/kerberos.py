"""Kerberos as a simulated host accepts it: MIT Kerberos' own acceptor, with the host's key from a keytab.

Real: the key distribution center (krb5kdc on loopback), its tickets and the sealed messages. Not seen here: a
domain of Windows, its referrals, and the group policies that a real host asks about the account.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from typing import Any, Final

import cffi

_DECLARED: Final = """
typedef uint32_t OM_uint32;
typedef struct { OM_uint32 length; void *elements; } *gss_OID;
typedef struct { size_t count; gss_OID elements; } *gss_OID_set;
typedef struct { size_t length; void *value; } gss_buffer_desc, *gss_buffer_t;
typedef struct { OM_uint32 type; gss_buffer_desc buffer; } gss_iov_buffer_desc;
typedef struct {
    OM_uint32 a; gss_buffer_desc b; OM_uint32 c; gss_buffer_desc d; gss_buffer_desc data;
} *gss_bindings;
typedef struct { const char *key; const char *value; } gss_key_value;
typedef struct { OM_uint32 count; gss_key_value *elements; } *gss_store;
OM_uint32 gss_acquire_cred_from(OM_uint32 *, void *, OM_uint32, gss_OID_set, int, gss_store, void **,
    void *, void *);
OM_uint32 gss_accept_sec_context(OM_uint32 *, void **, void *, gss_buffer_t, gss_bindings, void **, gss_OID *,
    gss_buffer_t, OM_uint32 *, OM_uint32 *, void **);
OM_uint32 gss_display_name(OM_uint32 *, void *, gss_buffer_t, gss_OID *);
OM_uint32 gss_wrap_iov(OM_uint32 *, void *, int, OM_uint32, int *, gss_iov_buffer_desc *, int);
OM_uint32 gss_unwrap(OM_uint32 *, void *, gss_buffer_t, gss_buffer_t, int *, OM_uint32 *);
"""
_ACCEPT: Final = 2


class Refused(Exception):
    """The ticket was refused; `answer` is what the host says of it."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


@functools.cache
def _ffi() -> Any:
    made = cffi.FFI()
    made.cdef(_DECLARED)
    return made


@functools.cache
def _library() -> Any:
    return _ffi().dlopen("libgssapi_krb5.so.2")


class Acceptor:
    """One logon on one connection. What it opens lives as long as the tests."""

    def __init__(self, keytab: str, certificate: bytes | None) -> None:
        ffi = _ffi()
        self._minor = ffi.new("OM_uint32 *")
        key, value = ffi.new("char[]", b"keytab"), ffi.new("char[]", keytab.encode())
        pairs = ffi.new("gss_key_value[1]", [(key, value)])
        store = ffi.new("gss_store", {"count": 1, "elements": pairs})
        held = ffi.new("void **")
        major = _library().gss_acquire_cred_from(
            self._minor, ffi.NULL, 0, ffi.NULL, _ACCEPT, store, held, ffi.NULL, ffi.NULL
        )
        assert major == 0, hex(major)
        self._credential = held[0]
        self._context = ffi.new("void **")
        self._bindings = ffi.NULL
        if certificate is not None:
            text = b"tls-server-end-point:" + hashlib.sha256(certificate).digest()
            self._kept = self._buffer(text)
            self._bindings = ffi.new("gss_bindings")
            self._bindings.data = self._kept[0][0]

    def accept(self, token: bytes) -> tuple[str, bytes]:
        """Return who logs on and what the host answers. Raises `Refused`."""
        ffi, given = _ffi(), self._buffer(token)
        answer, name, shown = ffi.new("gss_buffer_t"), ffi.new("void **"), ffi.new("gss_buffer_t")
        major = _library().gss_accept_sec_context(
            self._minor, self._context, self._credential, given[0], self._bindings, name, ffi.NULL, answer,
            ffi.NULL, ffi.NULL, ffi.NULL,
        )  # fmt: skip
        if major:
            raise Refused(self._text(answer))
        _library().gss_display_name(self._minor, name[0], shown, ffi.NULL)
        return self._text(shown).decode(), self._text(answer)

    def unseal(self, sealed: bytes) -> bytes:
        """Decrypt a message of the client's: the length of its signature, the signature, the rest."""
        ffi = _ffi()
        made, was_sealed = ffi.new("gss_buffer_t"), ffi.new("int *")
        given = self._buffer(sealed[4:])
        major = _library().gss_unwrap(self._minor, self._context[0], given[0], made, was_sealed, ffi.NULL)
        assert (major, was_sealed[0]) == (0, 1)
        return self._text(made)

    def seal(self, message: bytes) -> bytes:
        """Encrypt a message for the client."""
        ffi, given = _ffi(), self._buffer(message)
        parts = ffi.new("gss_iov_buffer_desc[3]")
        parts[0].type, parts[1].type, parts[2].type = 0x10002, 1, 0x10009
        parts[1].buffer = given[0][0]
        major = _library().gss_wrap_iov(self._minor, self._context[0], 1, 0, ffi.NULL, parts, 3)
        assert major == 0
        signature, data, padding = (self._text(ffi.addressof(part.buffer)) for part in parts)
        return struct.pack("<i", len(signature)) + signature + data + padding

    def _buffer(self, text: bytes) -> tuple[Any, Any]:
        held = _ffi().from_buffer(bytearray(text))
        return _ffi().new("gss_buffer_t", {"length": len(text), "value": held}), held

    def _text(self, made: Any) -> bytes:
        return bytes(_ffi().buffer(made.value, made.length)) if made.length else b""
