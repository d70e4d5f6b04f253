"""What a request says of the answer that it takes, read in one way wherever it is asked."""

from __future__ import annotations

from functools import lru_cache

from starlette.types import Scope


def field(scope: Scope, name: bytes) -> bytes:
    """A header, ``name`` in lower case; one that was sent in parts is put together (RFC 9110, 5.3).

    Whoever took the first part and whoever took the last would speak of different answers.
    """
    return b", ".join(value for key, value in scope["headers"] if key == name)


@lru_cache
def takes_gzip(accepted: bytes) -> bool:
    """Whether ``Accept-Encoding`` takes gzip; where it is asked for by weight 0 it does not."""
    for one in accepted.lower().split(b","):
        coding, _, weight = b"".join(one.split()).partition(b";q=")
        if coding == b"gzip":
            return weight.strip(b"0.") != b"" or not weight
    return False


def still_stands(known: bytes, tag: bytes) -> bool:
    """Whether ``If-None-Match`` names a tag (RFC 9110, 13.1.2: weakly compared)."""
    told = [one.strip().removeprefix(b"W/") for one in known.split(b",")]
    return tag.removeprefix(b"W/") in told or b"*" in told
