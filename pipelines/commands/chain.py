"""``felsina run``, and what ``up`` makes before it serves: the chain of each dataset."""

from __future__ import annotations

import time
from pathlib import Path

from models.board import BOARD, CHARTER
from models.charter import read_charter
from pipelines.chain import Made, plan
from pipelines.commands.terminal import Stages, answer, out, plain_table, say, scores
from pipelines.domains.registry import Domain, registered
from pipelines.present import read_board, released, reports
from pipelines.run import backtested, go_through
from pipelines.settings import home
from pipelines.stages import EVALUATE, RELEASE, Asked, Chain

_MINUTES = 2
"""What one part of the embedded city takes on two cores, in round numbers."""


def run_all(dataset: Path | None, asked: Asked, json: bool = False) -> None:
    """Run the chain on one dataset folder, or on every part of the embedded city."""
    wanted: list[Path | Domain] = [dataset] if dataset is not None else list(_embedded().values())
    _go(wanted, asked, json)


def make_missing(dataset: Path | None, asked: Asked) -> None:
    """Run the chain under a demo board, on a folder or on those parts of the city that lack it."""
    from pipelines.board import demo_board

    place = home()
    demo_board(place)  # a home with a real board is refused before anything is made
    wanted: list[Path | Domain] = [dataset] if dataset is not None else []
    if dataset is None:
        plain = asked == Asked()
        found = _embedded()
        names = [n for n in found if not (plain and released(place, found[n].embedded))]
        wanted += [found[name] for name in names]
        if names:
            say(
                f"The embedded city is synthetic. To make: {', '.join(names)}; about "
                f"{_MINUTES * len(names)} minutes on two cores, once."
            )
    _go(wanted, asked)


def plan_all(dataset: Path | None, asked: Asked, json: bool) -> None:
    """Show what ``run_all`` would do, and why; nothing is done or written."""
    wanted: list[Path | Domain] = [dataset] if dataset is not None else list(_embedded().values())
    chains = [Chain(source, home(), asked, Stages(shown=False)) for source in wanted]
    plans = {chain.name: plan(chain.stages, chain.records) for chain in chains}
    if json:
        answer({name: [vars(step) for step in steps] for name, steps in plans.items()})
        return
    for name, steps in plans.items():
        table = plain_table(name, ("stage", "would run", "why"), ("would run", "why"))
        for step in steps:
            table.add_row(step.stage, step.runs, step.why)
        out.print(table)


def _embedded() -> dict[str, Domain]:
    return {d.name: d for d in registered().values() if d.synthesise}


def _go(wanted: list[Path | Domain], asked: Asked, json: bool = False) -> None:
    place, records = home(), []
    chains: list[Made] = []
    with Stages() as stages:
        for source in wanted:
            began = time.perf_counter()
            chain = Chain(source, place, asked, stages)
            made, done = go_through(chain)
            seconds = round(time.perf_counter() - began, 1)
            name = made[RELEASE]["release"]
            told = f"done in {seconds:.0f} s" if done else "nothing to do"
            stages.say(f"{chain.name}: {told}, {name}; {_gate(made)}")
            chains.append(made)
            records.append(
                {
                    "release": str(place / "releases" / name),
                    "seconds": seconds,
                    "done": [one.stage for one in done],
                    "evaluation": made[EVALUATE],
                    "backtest": backtested(place, made),
                }
            )
    if json:
        answer(records)
    else:
        for record in records:
            out.print(scores(record["backtest"]))
    _next(place, chains)


def _gate(made: Made) -> str:
    """What the gate says, in a line."""
    failed = ", ".join(made[EVALUATE]["failed"])
    said = f"does not let it pass ({failed})" if failed else "lets it pass"
    return f"beside {made[EVALUATE]['against']} the gate {said}"


def _next(place: Path, made: list[Made]) -> None:
    """Say what people do next, where no demo board decides."""
    charter = place / BOARD / CHARTER
    real = charter.is_file()
    if real and read_charter(charter).demo:
        return
    for one in made:
        name = one[RELEASE]["release"]
        promoted = read_board(charter.parent).promoted(name.rpartition("-")[0]) if real else []
        if name in [promotion.release for promotion in promoted[:1]]:
            continue
        say(f"Not served yet. The board reads {reports(place, name) / 'report.en.html'}")
        say(f"Each member: felsina board sign {name} --key KEY --approve|--reject")
        say(f"Then the operator: felsina promote {name} --key KEY")
