"""How fast and how often a caller may ask: token buckets in memory, daily quotas by leases."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from serving.gate.keys import Key, Keys
from serving.gate.problems import Headers, busy

ANONYMOUS = "anonymous"
"""The name of callers without a key; their addresses tell them apart."""
_SECONDS_OF_BURST = 2.0
_DAY = 86_400
_LEASES = 100
"""A worker takes a hundredth of a quota at a time: at most so much is lost when it is killed."""


class Buckets:
    """Token buckets, one number each: when the bucket will be full again.

    Memory is bounded: of more callers than ``most`` the one that came first is forgotten, and
    starts anew with a full bucket.

    Args:
        most: callers.
        clock: seconds.
    """

    def __init__(self, most: int = 50_000, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.clock = most, clock
        self.full: dict[str, float] = {}

    def take(self, caller: str, rate: float, burst: float) -> Headers:
        """Take a token; what is left, as draft-ietf-httpapi-ratelimit-headers-10 tells it.

        Raises:
            Refusal: 429, if there is none.
        """
        now = self.clock()
        full = self.full.pop(caller, now)
        after = max(full, now) + 1 / rate
        window = burst / rate
        left = (window - after + now) * rate
        allowed = left >= -1e-9
        self.full[caller] = after if allowed else full
        if len(self.full) > self.most:
            del self.full[next(iter(self.full))]
        remaining = max(0, math.floor(left + 1e-9))
        reset = max(0, math.ceil((after if allowed else full) - now))
        headers = (
            (b"ratelimit-policy", b'"rate";q=%d;w=%d' % (burst, max(1, math.ceil(window)))),
            (b"ratelimit", b'"rate";r=%d;t=%d' % (remaining if allowed else 0, reset)),
        )
        if not allowed:
            wait = max(1, math.ceil(-left / rate))
            detail = f"over {rate:g} requests a second; come back in {wait} s"
            refusal = busy(detail, "rate", wait)
            refusal.headers += headers
            raise refusal
        return headers


class Quotas:
    """Daily quotas that workers share and that survive restarts, with few writes.

    A worker takes a lease, some of the day's requests, out of the database and spends it in
    memory. What is left of it is given back when the worker ends.
    """

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self.keys, self.clock = keys, clock
        self.leases: dict[str, tuple[int, int]] = {}
        self._one = asyncio.Lock()

    async def spend(self, key: Key) -> None:
        """Spend one request.

        Raises:
            Refusal: 429 until midnight UTC, if the quota is used up.
        """
        if key.quota is None:
            return
        today, second = divmod(int(self.clock()), _DAY)
        if self._spent(key.name, today):
            return
        async with self._one:
            if self._spent(key.name, today):
                return
            most = max(1, key.quota // _LEASES)
            part = await asyncio.to_thread(self.keys.take, key.name, today, key.quota, most)
            self.leases[key.name] = today, part
        if not self._spent(key.name, today):
            wait = _DAY - second
            detail = f"the day's {key.quota} requests are used up; come back after midnight UTC"
            raise busy(detail, "quota", wait)

    def _spent(self, name: str, today: int) -> bool:
        day, left = self.leases.get(name, (today, 0))
        if day != today or left < 1:
            return False
        self.leases[name] = day, left - 1
        return True

    def give_back(self) -> None:
        """Give back what is left of the leases."""
        for name, (day, left) in self.leases.items():
            if left:
                self.keys.give_back(name, day, left)
        self.leases.clear()


def burst_of(rate: float) -> float:
    """How many requests may come at once."""
    return max(5.0, math.ceil(rate * _SECONDS_OF_BURST))


def address_of(client: tuple[str, int] | None, four: int = 32, six: int = 64) -> str:
    """An address as a caller: of IPv6 the /64, since one host has all of it.

    Args:
        client: address and port.
        four: bits that tell callers apart of IPv4.
        six: the same of IPv6.
    """
    if client is None:
        return "unknown"
    try:
        address = ip_address(client[0])
    except ValueError:
        return client[0]
    address = getattr(address, "ipv4_mapped", None) or address
    bits = four if address.version == 4 else six
    return str(ip_network((address, bits), strict=False).network_address)
