"""Ed25519 keys and signed records (RFC 8032): who said it, checkable by anyone offline.

A signed record is a JSON object with two more members, ``key`` and ``signature``: the signature is
over the canonical JSON of the record with ``key`` and without ``signature``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes

PrivateKey = Ed25519PrivateKey
PublicKey = Ed25519PublicKey
PUBLIC_SUFFIX = ".pub"
_OTHERS = 0o077


def public_hex(key: PublicKey) -> str:
    """The 32 bytes of a public key, in hexadecimal."""
    return key.public_bytes_raw().hex()


def key_id(key: PublicKey) -> str:
    """Short name of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return sha256_bytes(key.public_bytes_raw())[:16]


def create_key(path: Path, passphrase: str | None = None) -> PrivateKey:
    """Make a key pair: ``path`` (PKCS 8 PEM, mode 0600) and ``path`` + ``.pub`` (PEM).

    Args:
        path: of the private key; it must not exist, since a lost key cannot be made again.
        passphrase: encrypts the private key.

    Raises:
        FelsinaError: if ``path`` exists or the passphrase is empty.
    """
    if passphrase == "":
        raise FelsinaError(f"{path}: the passphrase is empty; give one, or none at all")
    key = PrivateKey.generate()
    encryption = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase.encode())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FelsinaError(f"{path} exists; a key is never overwritten, name another") from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(private)
        stream.flush()
        os.fsync(stream.fileno())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path.with_name(path.name + PUBLIC_SUFFIX).write_bytes(public)
    return key


def load_key(path: Path, passphrase: str | None = None) -> PrivateKey:
    """Read a private key that only its owner may read, or that a passphrase protects.

    Raises:
        FelsinaError: naming the file and what to do.
    """
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; make the key pair, or name its file")
    content = path.read_bytes()
    try:
        key = serialization.load_pem_private_key(
            content, None if passphrase is None else passphrase.encode()
        )
    except TypeError as error:
        needed = "needs a passphrase" if passphrase is None else "has no passphrase"
        raise FelsinaError(f"{path}: the key {needed}; say so and try again") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "no PEM private key" if passphrase is None else "not readable with this passphrase"
        raise FelsinaError(f"{path}: {what}; name an ed25519 key file") from error
    if not isinstance(key, PrivateKey):
        raise FelsinaError(f"{path}: {type(key).__name__} is no ed25519 key; make one")
    mode = path.stat().st_mode & 0o777
    if passphrase is None and mode & _OTHERS:
        raise FelsinaError(f"{path}: others may read it (mode {mode:o}); chmod 600 it")
    return key


def is_protected(path: Path) -> bool:
    """Whether a private key file needs a passphrase, as far as its first line says."""
    return path.is_file() and b"ENCRYPTED" in path.read_bytes()[:200]


def load_public_key(source: Path | str) -> PublicKey:
    """Read a public key: 64 hexadecimal digits, or a file of these or of PEM.

    Raises:
        FelsinaError: if it is neither.
    """
    try:
        return PublicKey.from_public_bytes(bytes.fromhex(str(source)))
    except ValueError:
        path = Path(source)
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a public key file or its 64 hex digits")
    content = path.read_bytes()
    try:
        if b"PUBLIC KEY" not in content:
            return PublicKey.from_public_bytes(bytes.fromhex(content.decode().strip()))
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FelsinaError(f"{path}: no public key; give PEM or 64 hex digits") from error
    if not isinstance(key, PublicKey):
        raise FelsinaError(f"{path}: {type(key).__name__} is no ed25519 key; name another")
    return key


def key_ring(keys: PublicKey | Iterable[PublicKey]) -> dict[str, PublicKey]:
    """Public keys by their id."""
    return {key_id(key): key for key in ([keys] if isinstance(keys, PublicKey) else keys)}


def sign_record(record: Mapping[str, Any], key: PrivateKey) -> dict[str, Any]:
    """The record with ``key`` and ``signature`` added."""
    named = {**record, "key": key_id(key.public_key())}
    return {**named, "signature": key.sign(canonical_json(named)).hex()}


def signature_fault(record: Mapping[str, Any], ring: Mapping[str, PublicKey]) -> str | None:
    """Why a signed record is not believed, as the end of a sentence; None where it is.

    Args:
        record: a signed record.
        ring: the keys that are trusted, by id.
    """
    signature, name = record.get("signature"), record.get("key")
    if not isinstance(signature, str) or not signature:
        return "has no signature"
    if not isinstance(name, str) or name not in ring:
        return f"is signed by key {name!r}, which is not {' or '.join(sorted(ring)) or 'trusted'}"
    unsigned = {member: value for member, value in record.items() if member != "signature"}
    try:
        raw = bytes.fromhex(signature)
        ring[name].verify(raw, canonical_json(unsigned))
    except (InvalidSignature, ValueError, RecursionError):
        return "was edited: its signature does not fit"
    return None if raw.hex() == signature else "was edited: its signature is not lower-case hex"
