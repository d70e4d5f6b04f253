"""The city's round loop, as the app that a SuperLink starts: rounds, ledger, checkpoints, the end.

It may be killed and started again at any time: what was finished is in ``runs/NAME/``.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from models.errors import FelsinaError
from models.record import canonical_json, write_atomic
from privacy.accounting import SampledGaussian
from privacy.checkpoints import Checkpoint
from privacy.deployment.city import City
from privacy.deployment.member import Enrolment, Member
from privacy.deployment.results import (
    BEGUN,
    ENDED,
    FAULT,
    MEMBERS,
    STATUS,
    load_arrays,
    save_arrays,
)
from privacy.grid import GridPartners
from privacy.ledger import Ledger
from privacy.population import BudgetKey
from privacy.recorded import Part, run_recorded
from privacy.withdrawal import restart_without

log = logging.getLogger(__name__)
CITY, RUN, WAIT, AFTER = "FELSINA_CITY", "FELSINA_RUN", "FELSINA_WAIT_S", "FELSINA_AFTER"
"""Variables by which the city tells its app whose rounds these are; no network can set them."""
_POLL_S = 1.0
_END_S = 60.0
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Flower's entry."""
    threading.Thread(target=_end_when_orphaned, args=(os.getppid(),), daemon=True).start()
    told = os.environ
    conduct(grid, City(Path(told[CITY])), told[RUN], float(told[WAIT]), told[AFTER])


def conduct(grid: Grid, city: City, run: str, wait_s: float, after: str = "") -> None:
    """Run a federation's rounds to their end, or on from where they were.

    Args:
        grid: Flower's.
        city: whose.
        run: name.
        wait_s: how long partners are waited for before the first round.
        after: an earlier run: begin at its last model that never saw a partner which withdrew.
    """
    work = city.folder / "runs" / run
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # an app that was killed may not be gone yet
        if not (work / ENDED).exists():
            try:
                _conduct(grid, city, run, work, wait_s, after)
            except FelsinaError as error:
                write_atomic(work / FAULT, canonical_json(str(error)))


def _conduct(grid: Grid, city: City, run: str, work: Path, wait_s: float, after: str) -> None:
    rounds = city.plan.rounds.settings()

    def tell(text: str, share: float) -> None:
        write_atomic(work / STATUS, canonical_json({"text": text, "share": share}))

    members = _members(grid, city, work, wait_s, tell)
    nodes = {m.node: m.partner for m in members if m.node is not None}
    partners = GridPartners(grid, nodes, city.plan.rounds.deadline_s, run)
    agreed = {m.partner: m.enrolled.weight for m in members if m.enrolled}
    private = {m.partner: part for m in members if (part := part_of(city, m))}
    initial = load_arrays(city.folder / "initial.npz")
    ledger = city.ledger()
    begun = _begun(city, ledger, after) if after else ()
    if begun:
        write_atomic(work / BEGUN, canonical_json({"run": after, "rounds": begun[-1].round}))
    else:
        (work / BEGUN).unlink(missing_ok=True)
    ended = run_recorded(
        run, initial, partners, agreed, rounds, work, ledger, private, tell, begun=begun
    )
    save_arrays(work / "model.npz", ended.arrays)
    receipt = ledger.receipt()
    partners.deadline_s = min(_END_S, partners.deadline_s)
    have = partners.end(ended.rounds, ended.arrays, json.dumps(receipt))
    told = {"run": run, "rounds": ended.rounds, "reason": ended.reason, "given_to": have}
    write_atomic(work / ENDED, canonical_json(told | {"receipt": receipt}))


def _end_when_orphaned(parent: int) -> None:
    """A loop whose SuperLink is gone would wait for it for ever, and hold the run's lock."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


def _begun(city: City, ledger: Ledger, after: str) -> Sequence[Checkpoint]:
    """Checkpoints of an earlier run up to the last that saw nobody who withdrew since.

    Raises:
        FelsinaError: if nobody of that run withdrew, or its checkpoints are gone.
    """
    work = city.folder / "runs" / after
    members = work / MEMBERS
    if not members.exists():
        raise FelsinaError(f"run {after!r} is none of {city.folder}; see felsina city status")
    left = [name for name in json.loads(members.read_bytes()) if city.member(name).withdrawn]
    if not left:
        raise FelsinaError(f"nobody of run {after} withdrew; leave --after out")
    restarts = [restart_without(work, name, ledger) for name in left]
    return min(restarts, key=lambda restart: restart.rounds).begun


def part_of(city: City, member: Member) -> Part | None:
    """What a partner spends in a round; None where its training is not private."""
    sent, private = member.enrolled, city.plan.private
    if sent is None or private is None:
        return None
    assert sent.sampling_rate is not None
    assert sent.noise_multiplier is not None
    steps = private.steps // city.plan.rounds.rounds
    mechanism = SampledGaussian(sent.sampling_rate, sent.noise_multiplier, steps)
    return Part(BudgetKey(member.partner, sent.dataset, sent.terms.unit), mechanism)


def _members(
    grid: Grid, city: City, work: Path, wait_s: float, tell: Callable[[str, float], None]
) -> list[Member]:
    """Who takes part and with what: fixed when the run begins, since one that goes on is the same.

    All who have joined, once all are there; when the time is over, whoever is there. Whoever joins
    again meanwhile, with other data or limits, does so for the next run.
    """
    fixed = work / MEMBERS
    ends = time.monotonic() + wait_s
    while True:
        if fixed.exists():
            begun = {
                partner: Enrolment.model_validate(enrolled)
                for partner, enrolled in json.loads(fixed.read_bytes()).items()
            }
            joined = [
                m.model_copy(update={"enrolled": begun[m.partner]})
                for m in city.members()
                if m.partner in begun
            ]
        else:
            joined = [m for m in city.members() if m.state == "joined" and m.node is not None]
        online = set(grid.get_node_ids())
        here = [m for m in joined if m.node in online]
        late = time.monotonic() > ends
        if late or len(here) == len(joined) >= city.plan.rounds.least:
            if fixed.exists():
                return joined
            enrolled = {m.partner: m.enrolled.model_dump(mode="json") for m in here if m.enrolled}
            write_atomic(fixed, canonical_json(enrolled))
            return here
        tell(f"{len(here)} of {len(joined)} partners are there", 0.0)
        time.sleep(_POLL_S)
