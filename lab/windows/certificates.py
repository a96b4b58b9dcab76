"""Certificates of simulated hosts: by an authority, self-signed, expired, or for another name."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_KINDS = ("good", "self_signed", "expired", "early", "wrong_name")


@dataclass(frozen=True)
class Certificate:
    """A certificate with its private key, both in PEM."""

    pem: bytes
    key: bytes = field(repr=False)

    @property
    def der(self) -> bytes:
        """The certificate as it is shown in a handshake."""
        return x509.load_pem_x509_certificate(self.pem).public_bytes(serialization.Encoding.DER)


class Authority:
    """Signs certificates; a test makes one and has its certificate trusted."""

    def __init__(self, *, days: tuple[int, int] = (-1, 30), signed_by: Authority | None = None) -> None:
        """Make one whose own certificate is good from and to these days from now, by itself or another."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Lab Authority" if signed_by is None else "Lab Issuing Authority")
        issuer, signer = (name, self._key) if signed_by is None else (signed_by._subject, signed_by._key)
        self._certificate = (
            _builder(name, issuer, self._key, days=days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )

    @property
    def _subject(self) -> x509.Name:
        return self._certificate.subject

    @property
    def der(self) -> bytes:
        """The authority's own certificate."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        """The same as text, as a client's list of authorities has it."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def blob(self) -> str:
        """The same in base64, in one line."""
        return base64.b64encode(self.der).decode()

    def issue(self, kind: str, address: str, *, days: int = 30) -> Certificate:
        """Return a certificate of one of the kinds for a host at this address, good for so many days."""
        if kind not in _KINDS:
            raise ValueError(kind)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(address)
        place = ipaddress.ip_address("192.0.2.99" if kind == "wrong_name" else address)
        dates = {"expired": (-30, -1), "early": (1, 30)}.get(kind, (-1, days))
        issuer, signer = (subject, key) if kind == "self_signed" else (self._certificate.subject, self._key)
        certificate = (
            _builder(subject, issuer, key, days=dates)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(place)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        return Certificate(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
