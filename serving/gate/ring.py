"""The keys as a worker holds them."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable

from serving.gate.keys import Key, Keys, digest

_FRESH_SECONDS = 1.0


class Ring:
    """The keys as held in memory, to look secrets up; read anew when they are a second old.

    Args:
        keys: their table.
        clock: seconds.
    """

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self.keys, self.clock = keys, clock
        self._by_start: dict[str, list[Key]] = {}
        self._read = -_FRESH_SECONDS
        self._one = asyncio.Lock()

    async def find(self, secret: str) -> Key | None:
        """The key of a secret, stopped or not; digests are compared in constant time."""
        if self._old():
            async with self._one:
                if self._old():
                    began = self.clock()
                    self._hold(await asyncio.to_thread(self.keys.all))
                    self._read = began
        given = digest(secret)
        for key in self._by_start.get(given[:8], ()):
            if hmac.compare_digest(key.digest, given):
                return key
        return None

    def _old(self) -> bool:
        return self.clock() - self._read >= _FRESH_SECONDS

    def _hold(self, keys: list[Key]) -> None:
        self._by_start = {}
        for key in keys:
            self._by_start.setdefault(key.digest[:8], []).append(key)
