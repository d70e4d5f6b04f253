"""Secret randomness: who takes part in a step, and the noise, from a key and the step alone.

Both follow from ChaCha20's stream, so that nobody without the key can tell them from chance, and a
run that was killed goes on with what an unbroken one would have drawn. Whoever holds the key can
take the noise off again: it stays in the run's own folder, and goes when the run is done.
"""

from __future__ import annotations

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from models.contracts import BoolArray, FelsinaError, FloatArray

KEY_BYTES = 32
_MEMBERS, _NOISE = 1, 2
_SUMMED = 4
"""Normal draws summed for one, so that rounding of a single one tells nothing (Holohan and
Braghin 2021, arXiv 2107.10138)."""


def new_key() -> bytes:
    """A key from the operating system."""
    return secrets.token_bytes(KEY_BYTES)


class SecretDraws:
    """Draws of each step.

    Args:
        key: 32 bytes from ``new_key``; a fixed one in tests only.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise FelsinaError(f"a key of {len(key)} bytes: {KEY_BYTES} are needed")
        self._key = key

    def members(self, step: int, units: int, rate: float) -> BoolArray:
        """[units] who takes part: each on its own with probability ``rate`` (Poisson sampling)."""
        return self._uniform(_MEMBERS, step, units) < rate

    def noise(self, step: int, size: int) -> FloatArray:
        """[size] normal draws of variance 1, in 64 bit."""
        uniform = self._uniform(_NOISE, step, 2 * _SUMMED * size).reshape(2, _SUMMED, size)
        radius = np.sqrt(-2 * np.log1p(-uniform[0]))
        return (radius * np.cos(2 * np.pi * uniform[1])).sum(0) / np.sqrt(_SUMMED)

    def _uniform(self, purpose: int, step: int, size: int) -> FloatArray:
        """[size] numbers of 53 bits in [0, 1)."""
        # The nonce names purpose and step; its first 4 bytes count blocks from 0.
        nonce = bytes(4) + purpose.to_bytes(4, "little") + step.to_bytes(8, "little")
        stream = Cipher(algorithms.ChaCha20(self._key, nonce), mode=None).encryptor()
        words = np.frombuffer(stream.update(bytes(8 * size)), np.uint64)
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
