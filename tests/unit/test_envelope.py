"""The envelope: what was sealed opens only under the same key and the same name."""

from __future__ import annotations

import uuid

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from secrets_app import envelope

KEY = bytes(range(32))
NAME = envelope.name("value", uuid.UUID(int=1), "field")


def test_cry_01_a_known_vector_opens_through_our_wrapper():
    """GCM specification (McGrew and Viega), test case 16, under our header and name."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
    nonce = bytes.fromhex("cafebabefacedbaddecaf888")
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
        "b16aedf5aa0de657ba637b39"
    )
    header = envelope.HEADER + envelope.NO_KEY_ID
    sealed = header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + NAME)
    assert envelope.open_(key, sealed, NAME) == plaintext
    assert (
        AESGCM(key)
        .encrypt(nonce, plaintext, bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"))
        .hex()
        .startswith("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa")
    )


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
