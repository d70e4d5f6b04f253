"""``felsina scenario run``: what if, answered by a domain's simulator."""

from __future__ import annotations

import json as encoding
from pathlib import Path
from typing import Any

from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.terminal import Stages, answer, out, say
from pipelines.domains.chains import runner_of
from pipelines.domains.registry import Answering, Domain, Runner, domain_of
from pipelines.domains.scenarios import appearing, read_file
from pipelines.settings import home
from serving.release import champions
from serving.surrogate import SurrogateRelease, load_surrogate

PHYSICS, SURROGATE = ENGINES = ("physics", "surrogate")
DOMAIN, CHAIN = "domain", "chain"
"""Keys of which a scenario file has one: whose simulator, or which chain of several."""
_SHORT = 40
"""Characters that a table's cell may have without being broken into lines."""


def run_one(file: Path, engine: str, folder: Path, json: bool, release: str = "") -> None:
    """Run a scenario file, a domain's or a chain's; the folder appears under its name when whole.

    A run that was killed leaves ``FOLDER.partial``; the next one goes on from what it finished.
    """
    _known(engine)
    scenario = read_file(file, (DOMAIN, CHAIN))
    if CHAIN in scenario:
        if release:
            raise FelsinaError(
                f"{file}: --release {release} names one surrogate; a chain's hops name their own:"
                " release = in the hop's table"
            )
        run = runner_of(scenario[CHAIN], engine, surrogates_of)
        _report(file, scenario, f"chain {scenario[CHAIN]!r}", run, engine, folder, json)
        return
    domain = domain_of(scenario[DOMAIN])
    run = domain.scenario if engine == PHYSICS else _by_surrogate(domain, domain.answer, release)
    _report(file, scenario, domain.title, _had(run, file, domain, engine), engine, folder, json)


def search_one(file: Path, engine: str, folder: Path, json: bool, release: str) -> None:
    """Search a scenario file's measures for the best programme; the folder appears when whole."""
    _known(engine)
    scenario = read_file(file)
    domain = domain_of(scenario[DOMAIN])
    run = _by_surrogate(domain, domain.search, release if engine == SURROGATE else None)
    _report(file, scenario, domain.title, _had(run, file, domain, engine), engine, folder, json)


def _known(engine: str) -> None:
    if engine not in ENGINES:
        raise FelsinaError(f"engine {engine!r} is unknown; use {' or '.join(ENGINES)}")


def _by_surrogate(
    domain: Domain, answering: Answering | None, release: str | None
) -> Runner | None:
    """A runner that is given the domain's surrogates; none where ``release`` is None."""
    if answering is None:
        return None
    surrogates = [] if release is None else surrogates_of(domain.name, release)
    return lambda scenario, base, out, tell: answering(scenario, base, out, tell, surrogates)


def _had(run: Runner | None, file: Path, domain: Domain, engine: str) -> Runner:
    """What a domain brings to run a file; a domain without it is refused."""
    if run is None:
        lacking = "simulator of scenarios" if engine == PHYSICS else "surrogate or search"
        raise FelsinaError(f"{file}: domain {domain.name!r} has no {lacking}")
    return run


def _report(
    file: Path,
    scenario: dict[str, Any],
    title: str,
    run: Runner,
    engine: str,
    folder: Path,
    json: bool,
) -> None:
    """Run, write ``report.json`` and show its tables."""
    if folder.exists():
        raise FelsinaError(f"{folder} exists; name a folder that does not")
    kind = CHAIN if CHAIN in scenario else DOMAIN
    with appearing(folder, finished_stays=kind == CHAIN) as place, Stages() as stages:
        stages.begin(scenario["name"], f"{title}, by {engine}")
        found = run(scenario, file.parent, place, stages.progress)
        report = {"name": scenario["name"], kind: scenario[kind], "engine": engine, **found}
        text = encoding.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        (place / "report.json").write_text(text + "\n")
    if json:
        answer(report)
        return
    for title, rows in report.get("tables", {}).items():
        out.print(_table(title, rows))
    out.print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def surrogates_of(domain: str, release: str = "") -> list[SurrogateRelease]:
    """The surrogates of a domain that are released, or the one named.

    Raises:
        FelsinaError: where there is none.
    """
    place = home()
    if release:
        named = champions(place, surrogates=True).get(release, place / "releases" / release)
        found = [load_surrogate(named)]
    else:
        found = []
        for folder in champions(place, surrogates=True).values():
            try:
                found.append(load_surrogate(folder))
            except FelsinaError as error:  # it may be another domain's
                say(f"left out: {error}")
    meant = [one for one in found if one.spec.domain == domain]
    if not meant:
        raise FelsinaError(
            f"no surrogate of domain {domain!r} is released under {place}; make one: felsina"
            " scenario sample DESIGN.toml --out DIR, then felsina release build --dataset DIR"
        )
    return meant


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Records as a table; numbers stand right, with four digits."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in rows[0] if rows else ():
        numeric = not isinstance(rows[0][name], str)
        justify = "right" if numeric else "left"
        short = all(len(str(row[name])) <= _SHORT for row in rows)
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=not numeric and short)
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)
