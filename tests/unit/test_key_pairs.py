"""Key pairs: what is made can be read by OpenSSH, and what cannot be used is refused with its reason."""

from __future__ import annotations

import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa

from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext


@pytest.mark.parametrize("algorithm", key_pairs.ALGORITHMS)
def test_openssh_derives_the_same_public_half_and_fingerprint(algorithm, tmp_path):
    pair = key_pairs.generate(algorithm)
    public = tmp_path / "key.pub"
    public.write_text(pair.public_key + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True
    ).stdout
    assert key_pairs.fingerprint(pair.public_key) in shown
    assert key_pairs.read(pair.private_key).public_key == pair.public_key


def _pem(key: object, password: bytes | None = None, form=serialization.PrivateFormat.PKCS8) -> Plaintext:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return Plaintext(key.private_bytes(serialization.Encoding.PEM, form, how).decode())


@pytest.mark.parametrize(
    "form",
    [
        serialization.PrivateFormat.PKCS8,
        serialization.PrivateFormat.OpenSSH,
        serialization.PrivateFormat.TraditionalOpenSSL,
    ],
)
def test_a_key_is_read_in_each_form(form):
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = _pem(made, form=form)
    with_crlf = Plaintext("  \n" + text.reveal().replace("\n", "\r\n"))
    assert key_pairs.read(with_crlf).public_key == key_pairs.read(text).public_key


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH])
def test_a_key_with_a_passphrase_is_refused_with_what_to_do(form):
    text = _pem(ed25519.Ed25519PrivateKey.generate(), b"a passphrase", form)
    with pytest.raises(key_pairs.Unreadable, match="ssh-keygen -p"):
        key_pairs.read(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not a key", "Paste the whole file"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
            "Paste the whole file",
        ),
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024), "2048 bits"),
        (lambda: dsa.generate_private_key(2048), "Only Ed25519, ECDSA and RSA"),
    ],
    ids=["prose", "broken", "short", "dsa"],
)
def test_what_cannot_be_used_is_refused_without_being_repeated(text, reason):
    # Made here: each test process reads this module, and a DSA key takes seconds.
    text = text if isinstance(text, str) else _pem(text()).reveal()
    with pytest.raises(key_pairs.Unreadable, match=reason) as refused:
        key_pairs.read(Plaintext(text))
    assert text[40:60] not in str(refused.value) or len(text) < 60
