"""The city at work: door and SuperLink are up, partners join, rounds survive kills."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import FelsinaError
from models.record import write_atomic
from privacy.deployment import certificates
from privacy.deployment.city import City, split_address
from privacy.deployment.city_app import AFTER, CITY, RUN, WAIT
from privacy.deployment.member import Member
from privacy.deployment.proxy import Proxy
from privacy.deployment.results import ENDED, FAULT, MEMBERS, STATUS
from privacy.deployment.superlink import SuperLink
from privacy.entries import is_name

Told = Callable[[str, float], None]
_POLL_S = 0.5
_GRACE_S = 60.0
"""From handing in a run until its app has to hold the run's lock."""
_STARTS = 5
"""How often a round loop that died is started again before somebody has to look."""


def serve_run(
    city: City, run: str, told: Told, wait_s: float = 600.0, address: str = "", after: str = ""
) -> dict[str, Any]:
    """Let partners in and run a federation's rounds to their end.

    A SuperLink or round loop that dies is started again and goes on at the round it was in; if this
    process dies, the same command goes on.

    Args:
        city: opened.
        run: name; of one that has ended the result is given again.
        told: of progress: a text and the share that is done.
        wait_s: how long partners are waited for before the first round.
        address: to listen on, where it is not the one that partners reach.
        after: an earlier run: begin at its last model that never saw a partner which withdrew.

    Returns:
        ``run``, ``rounds``, ``reason`` (empty when all were run), ``given_to`` and ``receipt``.

    Raises:
        FelsinaError: if another process runs this city, or the round loop does not stay up.
    """
    work = city.folder / "runs" / run
    if not is_name(run):
        raise FelsinaError(f"run {run!r}: give a plain name")
    ended = work / ENDED
    if ended.exists():
        return json.loads(ended.read_bytes())
    work.mkdir(parents=True, exist_ok=True)
    (work / FAULT).unlink(missing_ok=True)
    with _alone(city):
        certificates.create_server(city.folder, split_address(city.address)[0])
        told_app = {CITY: str(city.folder), RUN: run, WAIT: str(wait_s), AFTER: after}
        link = SuperLink(city.folder, told_app)
        told("starting the SuperLink", 0.0)
        try:
            link.start()
            with Proxy(city, lambda: link.address, address):
                return _supervised(city, link, run, work, told)
        finally:
            link.stop()


def _supervised(city: City, link: SuperLink, run: str, work: Path, told: Told) -> dict[str, Any]:
    starts, wanted, said, placed = 0, 0.0, ("", -1.0), False
    while True:
        if (work / ENDED).exists():
            return json.loads((work / ENDED).read_bytes())
        if (work / FAULT).exists():
            raise FelsinaError(json.loads((work / FAULT).read_bytes()))
        if not link.alive:
            told("the SuperLink ended; it is started again", said[1])
            link.start()
            wanted, placed = 0.0, False
        joined = [m for m in city.members() if m.state == "joined"]
        if not placed or any(m.node is None for m in joined):
            _place(city, link, joined)
            placed = True
        least = city.plan.rounds.least
        if _locked(work / "lock"):
            wanted, status = time.monotonic(), _status(work)
        elif time.monotonic() < wanted:
            status = ("the round loop starts", said[1])
        elif len(joined) < least and not (work / MEMBERS).exists():
            status = (f"{len(joined)} of {least} partners have joined", 0.0)
        elif starts == _STARTS:
            log = link.state / "superlink.log"
            raise FelsinaError(f"run {run}: its round loop ended {starts} times; see {log}")
        else:
            link.submit(city.folder / "bundle")
            starts, wanted = starts + 1, time.monotonic() + _GRACE_S
            status = ("the round loop starts", said[1])
        if status != said:
            told(*status)
            said = status
        time.sleep(_POLL_S)


def _place(city: City, link: SuperLink, joined: list[Member]) -> None:
    """Let in the nodes of partners that have joined.

    What the SuperLink knows counts, not what was noted here: it may have been told before a kill,
    or by an earlier invitation to the same key, and its state may have been lost.
    """
    known = link.nodes() if joined else {}
    for member in joined:
        if member.key not in known:
            key = city.folder / "partners" / f"{member.partner}.pub"
            write_atomic(key, certificates.ssh_of_pem(member.key))
            known[member.key] = link.register(key, member.partner)
        if member.node != known[member.key]:
            city.place(member.partner, known[member.key])


def _locked(path: Path) -> bool:
    """Whether an app holds the run's lock."""
    if not path.exists():
        return False
    with path.open("r") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _status(work: Path) -> tuple[str, float]:
    try:
        told = json.loads((work / STATUS).read_bytes())
        return str(told["text"]), float(told["share"])
    except (OSError, ValueError):
        return "the round loop starts", 0.0


@contextmanager
def _alone(city: City) -> Iterator[None]:
    """One process runs a city."""
    with (city.folder / "run.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FelsinaError(f"{city.folder} is being run by another process") from None
        yield
