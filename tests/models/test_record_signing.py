"""Keys that only their owner reads, and records that anyone can check."""

import hashlib
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from models.errors import FelsinaError
from models.record import canonical_json
from models.signing import (
    PrivateKey,
    create_key,
    key_id,
    key_ring,
    load_key,
    load_public_key,
    public_hex,
    sign_record,
    signature_fault,
)


def test_a_key_pair_is_read_back(tmp_path):
    path = tmp_path / "keys" / "city.key"
    key = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).private_bytes_raw() == key.private_bytes_raw()
    public = key.public_key()
    text = tmp_path / "hex"
    text.write_text(public_hex(public) + "\n")
    for source in (tmp_path / "keys" / "city.key.pub", text, public_hex(public)):
        assert load_public_key(source) == public
    assert key_id(public) == hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def test_a_passphrase_protects(tmp_path):
    path = tmp_path / "city.key"
    key = create_key(path, "Neptune's fountain")
    assert b"ENCRYPTED" in path.read_bytes()
    assert load_key(path, "Neptune's fountain").public_key() == key.public_key()
    with pytest.raises(FelsinaError, match="needs a passphrase"):
        load_key(path)
    with pytest.raises(FelsinaError, match="not readable with this passphrase"):
        load_key(path, "fountain")
    with pytest.raises(FelsinaError, match="passphrase is empty"):
        create_key(tmp_path / "other.key", "")


def test_what_is_no_key_is_refused(tmp_path):
    path = tmp_path / "city.key"
    create_key(path)
    with pytest.raises(FelsinaError, match="never overwritten"):
        create_key(path)
    with pytest.raises(FelsinaError, match="no passphrase"):
        load_key(path, "needless")
    path.chmod(0o640)
    with pytest.raises(FelsinaError, match="chmod 600"):
        load_key(path)
    with pytest.raises(FelsinaError, match="missing"):
        load_key(tmp_path / "none")
    other = X25519PrivateKey.generate()
    path.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(FelsinaError, match="no ed25519 key"):
        load_key(path)
    for content in ("abc", "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----\n"):
        path.write_text(content)
        with pytest.raises(FelsinaError, match="no public key"):
            load_public_key(path)
    with pytest.raises(FelsinaError, match="missing"):
        load_public_key("0123")


def test_a_signed_record_is_believed_as_it_is_and_not_otherwise():
    key, other = PrivateKey.generate(), PrivateKey.generate()
    ring = key_ring(key.public_key())
    signed = sign_record({"decision": "approve", "n": 1}, key)
    assert signature_fault(signed, ring) is None
    assert signature_fault(dict(reversed(signed.items())), ring) is None
    assert "edited" in str(signature_fault(signed | {"n": 2}, ring))
    assert "edited" in str(signature_fault(signed | {"more": None}, ring))
    assert "edited" in str(signature_fault(signed | {"signature": "00"}, ring))
    upper = signed | {"signature": signed["signature"].upper()}
    assert "lower-case" in str(signature_fault(upper, ring))
    assert "is signed by key" in str(signature_fault(sign_record({"n": 1}, other), ring))
    assert signature_fault(sign_record({"n": 1}, other), key_ring([other.public_key()])) is None
    unsigned = {name: value for name, value in signed.items() if name != "signature"}
    assert signature_fault(unsigned, ring) == "has no signature"


def test_the_signature_is_plain_ed25519_over_canonical_json():
    key = PrivateKey.generate()
    signed = sign_record({"città": "Bologna"}, key)
    content = canonical_json({"città": "Bologna", "key": key_id(key.public_key())})
    assert key.sign(content).hex() == signed["signature"]


def test_checking_loads_neither_numpy_nor_torch():
    code = "import sys, models.stream; print({'numpy', 'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
