"""``felsina scenario run``: what if, answered by a domain's simulator."""

from __future__ import annotations

import json as encoding
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.terminal import Stages, answer, out, say
from pipelines.domains.registry import Answering, Domain, Runner, domain_of
from pipelines.domains.scenarios import FINISHED
from pipelines.settings import home
from serving.release import champions
from serving.surrogate import SurrogateRelease, load_surrogate

PHYSICS, SURROGATE = ENGINES = ("physics", "surrogate")


def run_one(file: Path, engine: str, folder: Path, json: bool, release: str = "") -> None:
    """Run a scenario file; the folder appears under its name when it is whole.

    A run that was killed leaves ``FOLDER.partial``; the next one goes on from what it finished.
    """
    _known(engine)
    scenario = read_file(file)
    domain = domain_of(scenario["domain"])
    run = domain.scenario if engine == PHYSICS else _by_surrogate(domain, domain.answer, release)
    _report(file, scenario, domain, run, engine, folder, json)


def search_one(file: Path, engine: str, folder: Path, json: bool, release: str) -> None:
    """Search a scenario file's measures for the best programme; the folder appears when whole."""
    _known(engine)
    scenario = read_file(file)
    domain = domain_of(scenario["domain"])
    run = _by_surrogate(domain, domain.search, release if engine == SURROGATE else None)
    _report(file, scenario, domain, run, engine, folder, json)


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


def _report(
    file: Path,
    scenario: dict[str, Any],
    domain: Domain,
    run: Runner | None,
    engine: str,
    folder: Path,
    json: bool,
) -> None:
    """Run, write ``report.json`` and show its tables."""
    if run is None:
        lacking = "simulator of scenarios" if engine == PHYSICS else "surrogate or search"
        raise FelsinaError(f"{file}: domain {domain.name!r} has no {lacking}")
    if folder.exists():
        raise FelsinaError(f"{folder} exists; name a folder that does not")
    with appearing(folder) as place, Stages() as stages:
        stages.begin(scenario["name"], f"{domain.title}, by {engine}")
        found = run(scenario, file.parent, place, stages.progress)
        report = {"name": scenario["name"], "domain": domain.name, "engine": engine, **found}
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


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to write that gets its name when the block ends well.

    After a kill it is given again, with what was finished; after a refusal nothing is left.
    """
    partial = folder.with_name(folder.name + ".partial")
    resumed = partial.exists()
    _clear(partial)
    try:
        yield partial
    except FelsinaError:
        if not resumed:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)


def _clear(partial: Path) -> None:
    """Make the folder, with nothing of a killed run but what that had finished."""
    partial.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        if path.name != FINISHED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def read_file(file: Path) -> dict[str, Any]:
    """A scenario or a design; its name and domain are there."""
    try:
        scenario = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FelsinaError(f"scenario {file}: {error}") from None
    for key in ("name", "domain"):
        if not isinstance(scenario.get(key), str) or not scenario[key]:
            raise FelsinaError(f"scenario {file}: {key} is missing; give it a text")
    return scenario


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Records as a table; numbers stand right, with four digits."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in rows[0] if rows else ():
        numeric = not isinstance(rows[0][name], str)
        justify = "right" if numeric else "left"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=not numeric)
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)
