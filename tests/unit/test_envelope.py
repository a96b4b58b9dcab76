"""The envelope: what was sealed opens only under the same key and the same name."""

from __future__ import annotations

import uuid

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from secrets_app.crypto import envelope

KEY = bytes(range(32))
NAME = envelope.name("value", uuid.UUID(int=1), "field")


#: GCM specification (McGrew and Viega, 2005), appendix B, test cases 13 to 16: key, nonce, plaintext,
#: associated data, ciphertext with its tag.
VECTORS = [
    ("00" * 32, "00" * 12, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        "00" * 32,
        "00" * 12,
        "00" * 16,
        "",
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b391aafd255",
        "",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
        "c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b39",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
        "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "plaintext", "bound", "expected"), VECTORS)
def test_cry_01_the_known_answers_come_out_of_our_wrapper(
    monkeypatch, key, nonce, plaintext, bound, expected
):
    """Our header always stands in the associated data; it is made empty, and the generator is held."""
    key, nonce, plaintext, bound = (bytes.fromhex(part) for part in (key, nonce, plaintext, bound))
    monkeypatch.setattr(envelope, "HEADER", b"")
    monkeypatch.setattr(envelope, "HEADER_BYTES", 0)
    monkeypatch.setattr(envelope.os, "urandom", lambda length: nonce[:length])
    sealed = envelope.seal(key, plaintext, bound, key_name=b"")
    assert sealed.hex() == nonce.hex() + expected
    assert envelope.open_(key, sealed, bound) == plaintext


def test_cry_01_a_value_that_an_independent_cipher_sealed_in_our_layout_opens():
    """The layout by hand: magic, format, algorithm, key id, nonce, ciphertext, tag; header and name bound."""
    header, nonce = b"KT\x01\x01" + bytes(range(16)), bytes(range(12))
    cipher = Cipher(algorithms.AES(KEY), modes.GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(header + NAME)
    body = cipher.update(b"a value") + cipher.finalize()
    sealed = header + nonce + body + cipher.tag
    assert envelope.open_(KEY, sealed, NAME) == b"a value"
    assert envelope.key_name(sealed) == bytes(range(16))


@given(st.binary(max_size=300))
def test_what_was_sealed_opens(plaintext):
    assert envelope.open_(KEY, envelope.seal(KEY, plaintext, NAME), NAME) == plaintext


def test_cry_02_every_flipped_bit_is_noticed():
    sealed = envelope.seal(KEY, b"a value", NAME, key_name=uuid.UUID(int=7).bytes)
    for place in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << (place % 8)
        with pytest.raises(envelope.Tampered):
            envelope.open_(KEY, bytes(changed), NAME)


def test_cry_02_every_flipped_bit_of_the_name_is_noticed():
    sealed = envelope.seal(KEY, b"a value", NAME)
    for place in range(len(NAME) * 8):
        changed = bytearray(NAME)
        changed[place // 8] ^= 1 << (place % 8)
        with pytest.raises(envelope.Tampered):
            envelope.open_(KEY, sealed, bytes(changed))


def test_cry_02_a_truncated_value_is_noticed():
    sealed = envelope.seal(KEY, b"a value", NAME)
    for length in range(len(sealed)):
        with pytest.raises(envelope.Tampered):
            envelope.open_(KEY, sealed[:length], NAME)


def test_two_lists_of_parts_never_give_one_name():
    assert envelope.name("ab", "c") != envelope.name("a", "bc")
    assert envelope.name("a") != envelope.name("a", "")


def test_the_same_plaintext_is_sealed_differently_each_time():
    assert envelope.seal(KEY, b"a value", NAME) != envelope.seal(KEY, b"a value", NAME)
