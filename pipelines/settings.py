"""Where Felsina keeps what it makes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def home() -> Path:
    """The ``mlruns`` folder: ``$FELSINA_HOME``, or ``mlruns`` beside the packages."""
    return Path(os.environ.get("FELSINA_HOME") or Path(__file__).parents[1] / "mlruns").resolve()


def store_place() -> str | Path:
    """Where observations are held: ``$FELSINA_STORE``, a database URL or path, else ``home``."""
    place = os.environ.get("FELSINA_STORE", "")
    return place if "://" in place else Path(place or home() / "observations.db")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file while another process of the same work waits; a crash lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
