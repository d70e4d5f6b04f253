"""What is wrong with the store that runs are tracked in, and what to do about it.

It does what a training does, by the same client and as the same user: writes a run, keeps a file
with it and reads it back, registers a model. What it made it deletes again.
"""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from models.contracts import FelsinaError
from models.record import sha256_file
from training.tracking import EXPERIMENT, Tracker, address, ask

_BYTES = 1 << 16
_SKEW_SECONDS = 60
"""Of clocks. S3 refuses what is signed a quarter of an hour off; runs are in disorder before."""
_LOG = "look at the server's log, or at the disk that the home folder lies on"
_TIGHT = "NO_PERMISSIONS"
_USERS = "mlflow/users"
_REMEDIES = {
    "out-of-date database schema": "keep a copy of the database, then mlflow db upgrade ADDRESS",
    "Can't locate revision": "the database is of a newer MLflow: install the version it is of",
    "PERMISSION_DENIED": f"ask for EDIT on experiment {EXPERIMENT} and models (docs/deploy.md)",
    "Permission denied": f"ask for EDIT on experiment {EXPERIMENT} and models (docs/deploy.md)",
    "No module named 'boto3'": "let the server hand artifacts on (--serve-artifacts)",
}
"""By what stands in an error's text."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of what.
        told: what was found.
        remedy: what to do; empty where nothing is wrong.
    """

    name: str
    told: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.remedy


class _Fault(Exception):
    """Something is wrong; ``last`` where nothing else can be looked at."""

    def __init__(self, told: str, remedy: str, last: bool = False) -> None:
        super().__init__(told)
        self.remedy, self.last = remedy, last


@dataclass
class _Store:
    """The store that is looked at, and what was found out of it."""

    home: Path
    uri: str
    user: str = ""
    tracker: Tracker | None = None

    @property
    def remote(self) -> bool:
        return self.uri.startswith(("http://", "https://"))


def diagnose(home: Path) -> Iterator[Check]:
    """Look at one thing after the other, and stop where the others rest on what is wrong.

    Args:
        home: the ``mlruns`` folder; ``MLFLOW_TRACKING_URI`` names another store than that in it.
    """
    store = _Store(home, address(home))
    for name, look, remedy, needed in _LOOKS:
        try:
            told = look(store)
        except Exception as error:
            yield _wrong(name, error, remedy)
            if needed or (isinstance(error, _Fault) and error.last):
                return
        else:
            if told:
                yield Check(name, told)


def _wrong(name: str, error: Exception, remedy: str) -> Check:
    if isinstance(error, _Fault):
        return Check(name, str(error), error.remedy)
    if isinstance(error, FelsinaError):
        told, _, own = str(error).rpartition("; ")
        return Check(name, told or own, own)
    text = shown(f"{type(error).__name__}: {error}".splitlines()[0])[:300]
    known = (own for part, own in _REMEDIES.items() if part in str(error))
    return Check(name, text, next(known, remedy))


def _reach(store: _Store) -> str:
    if store.remote:
        status = ask(store.uri, "/health", known=False).status_code
        if status != 200:
            raise _Fault(f"{shown(store.uri)} answers {status}", _LOG)
    return shown(store.uri)


def _transport(store: _Store) -> str:
    where = urlsplit(store.uri)
    if not store.remote:
        return ""
    if where.scheme == "http" and not _loopback(where.hostname or ""):
        raise _Fault("passwords cross the network in the clear", "take https, or a tunnel")
    return where.scheme if where.scheme == "https" else "this machine's own end"


def _clock(store: _Store) -> str:
    if not store.remote:
        return ""
    told = ask(store.uri, "/health", known=False).headers["Date"]
    skew = parsedate_to_datetime(told).timestamp() - time.time()
    if abs(skew) > _SKEW_SECONDS:
        raise _Fault(f"the server's is {skew:+.0f} s off this one's", "set both by NTP")
    return f"within {max(1, abs(skew)):.0f} s of the server's"


def _identity(store: _Store) -> str:
    if not store.remote:
        return ""
    path = f"/api/2.0/{_USERS}/current"
    if ask(store.uri, path, known=False).status_code != 401:
        raise _Fault(
            "it asks nobody who they are: who reaches it may change all that is in it",
            "start it with --app-name basic-auth (docs/deploy.md)",
        )
    answer = ask(store.uri, path)
    if answer.status_code != 200:
        raise _Fault(
            f"it does not know who you are ({answer.status_code})",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            last=True,
        )
    user = answer.json()["user"]
    store.user = user["username"]
    return f"{store.user}, an administrator" if user["is_admin"] else store.user


def _default(store: _Store) -> str:
    """What those have who were granted nothing, told by a kind that Felsina never grants."""
    if not store.user:
        return ""
    asked = {"username": store.user, "resource_type": "gateway_secret", "resource_id": "*"}
    answer = ask(store.uri, f"/api/3.0/{_USERS}/permissions/get", asked)
    found = answer.json()["permission"]
    if found != _TIGHT:
        raise _Fault(
            f"whoever has a password has {found} on what others made",
            f"default_permission = {_TIGHT} in the server's auth configuration",
        )
    return _TIGHT


def _version(store: _Store) -> str:
    own = version("mlflow")
    if not store.remote:
        return ""
    theirs = ask(store.uri, "/version").text.strip()
    if theirs.split(".")[:2] != own.split(".")[:2]:
        raise _Fault(
            f"the server is of MLflow {theirs[:20]}, the client of {own}",
            "install the version of constraints.txt on both",
        )
    return f"MLflow {theirs}"


def _write(store: _Store) -> str:
    tracker = Tracker(store.home, "doctor")
    store.tracker = tracker
    tracker.parameters({"doctor": True})
    tracker.metrics({"doctor": 1.0})
    tracker.end()
    return f"experiment {EXPERIMENT}, its schema is the client's"


def _artifacts(store: _Store) -> str:
    tracker = store.tracker
    assert tracker is not None
    scheme = urlsplit(tracker.place).scheme or "file"
    if store.remote and scheme == "file":
        raise _Fault(
            f"the server sends files to {tracker.place}: that is this machine's own disk",
            "start the server with --artifacts-destination and --serve-artifacts",
        )
    with tempfile.TemporaryDirectory() as made:
        sent = Path(made) / "sent.bin"
        sent.write_bytes(secrets.token_bytes(_BYTES))
        tracker.artifact(sent)
        (Path(made) / "back").mkdir()
        back = tracker.fetch(sent.name, Path(made) / "back")
        if sha256_file(back) != sha256_file(sent):
            raise _Fault(
                f"{back.stat().st_size} other bytes came back than the {_BYTES} that were sent",
                _LOG,
            )
    return f"{_BYTES:,} bytes there and back, by {scheme}"


def _registry(store: _Store) -> str:
    tracker, name = store.tracker, f"doctor-{secrets.token_hex(4)}"
    assert tracker is not None
    tracker.client.create_registered_model(name)
    tracker.client.delete_registered_model(name)
    return "a model was registered and deleted"


def _tidy(store: _Store) -> str:
    tracker = store.tracker
    assert tracker is not None
    try:
        tracker.discard()
    except Exception as error:
        if "ermission" not in str(error) and "403" not in str(error):
            raise
        return f"run {tracker.run_id} stays: who may write may not delete"
    return "the run is deleted"


_LOOKS: tuple[tuple[str, Callable[[_Store], str], str, bool], ...] = (
    ("reach", _reach, "start the server, or set MLFLOW_TRACKING_URI to where it is", True),
    ("transport", _transport, "take https, or a tunnel", False),
    ("clock", _clock, "set both by NTP", False),
    ("identity", _identity, _LOG, False),
    ("default permission", _default, _LOG, False),
    ("version", _version, "install the version of constraints.txt on both", False),
    ("runs", _write, _LOG, True),
    ("artifacts", _artifacts, _LOG, False),
    ("registry", _registry, _LOG, False),
    ("tidy", _tidy, _LOG, False),
)
"""What is looked at, how, what to do where an error does not say, and whether others rest on it."""


def shown(uri: str) -> str:
    """An address without the password in it."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", uri)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
