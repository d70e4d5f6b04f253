"""Keys and certificates of a federation: the city's own authority, one key a partner.

A partner's node key (NIST P-384, as Flower's node authentication wants it) is also the key of its
TLS client certificate. So the proxy can check by the certificate alone that a request's node is the
partner that the connection belongs to; there is no table that could go stale. Private keys are made
where they are used and never travel.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from models.errors import FelsinaError
from models.record import write_atomic

AUTHORITY_DAYS, SERVER_DAYS, PARTNER_DAYS = 3650, 825, 397
_SKEW = timedelta(minutes=5)
"""Clocks of city and partner may differ by so much."""
_URN = x509.UniformResourceIdentifier
NodeKey = ec.EllipticCurvePrivateKey


def create_node_key(path: Path) -> NodeKey:
    """Make a key (P-384, PEM, mode 0600), or read the one that is there."""
    if path.exists():
        return load_node_key(path)
    key = ec.generate_private_key(ec.SECP384R1())
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(path)
    return key


def load_node_key(path: Path) -> NodeKey:
    """Read a key made by :func:`create_node_key`."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise FelsinaError(f"{path}: no readable private key; restore it") from error
    if not isinstance(key, NodeKey):
        raise FelsinaError(f"{path}: {type(key).__name__} is no elliptic-curve key; restore it")
    return key


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as PEM: how Flower's requests name their node."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_header(key: ec.EllipticCurvePublicKey) -> str:
    """A public key as the header of a fleet request names it."""
    return base64.b64encode(public_pem(key)).decode()


def ssh_of_pem(pem: str) -> bytes:
    """A public key in OpenSSH's form: how a SuperLink is told of a node."""
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def create_authority(folder: Path, city: str) -> None:
    """The city's certificate authority: ``ca.key`` and ``ca.crt``."""
    key = create_node_key(folder / "ca.key")
    name = _named(f"Felsina federation of {city}")
    builder = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )
    (folder / "ca.crt").write_bytes(_signed(builder, key))


def create_server(folder: Path, host: str) -> None:
    """What proxy and SuperLink show: ``server.key`` and ``server.pem``, for host and loopback.

    Made again, it is the same key with a new end.
    """
    key = create_node_key(folder / "server.key")
    hosts = dict.fromkeys([host, "localhost", "127.0.0.1"])
    authority, issuer = _authority(folder)
    builder = (
        _builder(_named(host), issuer.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_alternative(one) for one in hosts]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(_issued_by(issuer), False)
    )
    write_atomic(folder / "server.pem", _signed(builder, authority))


def request_of(key: NodeKey, partner: str) -> str:
    """A partner's certificate signing request, which proves that it has the key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_named(partner))
    signed = builder.sign(key, hashes.SHA384())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def key_of_request(request: str) -> ec.EllipticCurvePublicKey:
    """The key that a request is for.

    Raises:
        FelsinaError: if it is none, not signed by its own key, or by a key of another kind than the
            SuperLink takes.
    """
    try:
        read = x509.load_pem_x509_csr(request.encode())
        key = read.public_key()
        elliptic = isinstance(key, ec.EllipticCurvePublicKey)
        if elliptic and isinstance(key.curve, ec.SECP384R1) and read.is_signature_valid:
            return key
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise FelsinaError("the certificate request cannot be read; make it again") from error
    raise FelsinaError("the certificate request is not signed by its own P-384 key; make it again")


def certify(folder: Path, request: str, partner: str) -> bytes:
    """A client certificate for the key of a request, in the name that the city knows."""
    authority, issuer = _authority(folder)
    builder = (
        _builder(_named(partner), issuer.subject, key_of_request(request), PARTNER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName([_URN(f"urn:felsina:{partner}")]), False)
        .add_extension(_issued_by(issuer), False)
    )
    return _signed(builder, authority)


def who_shows(certificate: bytes) -> tuple[str, bytes]:
    """Partner and public key (PEM) of a client certificate (DER) that TLS has verified."""
    read = x509.load_der_x509_certificate(certificate)
    (name,) = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    key = read.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return str(name.value), public_pem(key)


def ends_on(path: Path) -> datetime:
    """When a certificate ends, UTC."""
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def _authority(folder: Path) -> tuple[NodeKey, x509.Certificate]:
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    return load_node_key(folder / "ca.key"), certificate


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _signed(builder: x509.CertificateBuilder, key: NodeKey) -> bytes:
    return builder.sign(key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)
