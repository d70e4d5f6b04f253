"""Chains across domains: what one simulator finds changes what the next one is asked.

To add a chain: write a module here whose ``run_chain`` takes the parsed file and ``Hops``, and
register it in ``CHAINS``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, sha256_file
from pipelines.domains.registry import Runner, domain_of, later
from pipelines.domains.scenarios import FINISHED, Frozen, appearing, read_file

if TYPE_CHECKING:
    from serving.surrogate import SurrogateRelease

Progress = Callable[[str, float], None]
Tables = dict[str, list[dict[str, Any]]]
SurrogatesOf = Callable[[str, str], "list[SurrogateRelease]"]
"""From a domain and a release (empty: those that are served) to its surrogates."""

SIMULATED = "not learned but simulated: any input that the simulator takes"
INSIDE = "inside what it learned"
_ERRORS = {
    "mae": "MAE {:.3g}",
    "cvrmse": "CVRMSE {:.1%}",
    "coverage_80": "80 % band holds {:.0%}",
}
_LONGEST_NAME = 255
"""Characters of a text that may name a file."""
_REPORT, _KEY = "report.json", "hop.json"


class HopKeys(Frozen):
    """A hop that is another domain's scenario.

    Attributes:
        scenario: its file, relative to the chain's.
        engine: ``physics`` or ``surrogate``; the command's when left out.
        release: which surrogate, by name or release; the domain's when left out.
    """

    scenario: str
    engine: Literal["physics", "surrogate"] | None = None
    release: str = ""


@dataclass(frozen=True)
class Hop:
    """What the report says of one hop.

    Attributes:
        hop: its table in the file.
        engine: ``physics``, ``surrogate``, or what else it is.
        by: simulator or release.
        error: how far off it is known to be, and on what.
        range: whether what it was asked lies inside what it learned.
        handed_on: what the next hop, or the reader, gets of it.
        details: figures behind these sentences, for JSON.
    """

    hop: str
    engine: str
    by: str
    error: str
    range: str
    handed_on: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chained:
    """What a chain came to.

    Attributes:
        hops: in order.
        said: what else the report holds, for JSON.
        tables: title to rows, shown after the hops.
        notes: what the chain does not know, a sentence each.
    """

    hops: tuple[Hop, ...]
    said: dict[str, Any]
    tables: Tables
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Hops:
    """Where a chain runs its hops.

    Attributes:
        base: folder that the chain's paths are relative to.
        out: folder to write; each hop gets one in it.
        engine: of hops that name none.
        surrogates_of: finds a domain's surrogates.
        progress: told a text and the share that is done.
    """

    base: Path
    out: Path
    engine: str
    surrogates_of: SurrogatesOf
    progress: Progress

    def read(self, hop: str, keys: HopKeys, domain: str) -> tuple[dict[str, Any], Path]:
        """A hop's scenario, and the folder that its paths are relative to.

        Raises:
            FelsinaError: if it is another domain's.
        """
        file = self.base / keys.scenario
        scenario = read_file(file)
        if scenario["domain"] != domain:
            raise FelsinaError(
                f"{hop}.scenario {file} is of domain {scenario['domain']!r}; name one of {domain!r}"
            )
        return scenario, file.parent

    def engine_of(self, keys: HopKeys) -> str:
        """Physics or surrogate."""
        return keys.engine or self.engine

    def surrogates(self, domain: str, keys: HopKeys) -> list[SurrogateRelease]:
        """The domain's surrogates where the hop asks them, none where it simulates."""
        if self.engine_of(keys) == "physics":
            return []
        return self.surrogates_of(domain, keys.release)

    def runner(self, hop: str, domain: str, surrogates: list[SurrogateRelease]) -> Runner:
        """What runs a domain's scenario, by the surrogates if there are any."""
        brought = domain_of(domain)
        answer, simulator = brought.answer, brought.scenario
        if surrogates and answer is not None:
            return lambda scenario, base, out, tell: answer(scenario, base, out, tell, surrogates)
        if surrogates or simulator is None:
            lacking = "surrogate's answer" if surrogates else "simulator of scenarios"
            raise FelsinaError(f"{hop}: domain {domain!r} has no {lacking}; name another engine")
        return simulator

    def kept(
        self, title: str, key: Any, make: Callable[[Path, Progress], dict[str, Any]]
    ) -> tuple[Path, dict[str, Any]]:
        """A hop's folder and report: made, or read where a run that was killed had finished it.

        Args:
            title: name of its folder.
            key: for JSON, all that decides what comes out; another key is made anew.
            make: writes the folder, and is told where progress goes.
        """
        folder = self.out / FINISHED / title
        digest = sha256_bytes(canonical_json(key))
        if folder.is_dir() and json.loads((folder / _KEY).read_bytes())["sha256"] != digest:
            shutil.rmtree(folder)
        if not folder.is_dir():
            with appearing(folder) as place:
                report = make(place, partial(self._tell, title))
                text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
                (place / _REPORT).write_text(text + "\n")
                (place / _KEY).write_text(json.dumps({"sha256": digest}) + "\n")
        return folder, json.loads((folder / _REPORT).read_bytes())

    def _tell(self, title: str, stage: str, share: float) -> None:
        self.progress(f"{title}: {stage}", share)


Chain = Callable[[dict[str, Any], Hops], Chained]
"""From the parsed file and where to run to what it came to."""

CHAINS: dict[str, Chain] = {
    "flood closes roads": later("pipelines.domains.flood_closes_roads:run_chain"),
    "heat wave raises cooling": later("pipelines.domains.heat_wave_raises_cooling:run_chain"),
}
"""The registered chains, by the name that a file gives."""


def runner_of(name: str, engine: str, surrogates_of: SurrogatesOf) -> Runner:
    """A runner of chain files; an unknown chain is refused.

    Args:
        name: of the chain.
        engine: of hops that name none.
        surrogates_of: finds a domain's surrogates.
    """
    if name not in CHAINS:
        known = ", ".join(map(repr, CHAINS))
        raise FelsinaError(f"chain {name!r} is not registered; use one of {known}")

    def run(scenario: dict[str, Any], base: Path, out: Path, tell: Progress) -> dict[str, Any]:
        found = CHAINS[name](scenario, Hops(base, out, engine, surrogates_of, tell))
        _bring_out(out)
        notes = [{"what the chain does not know": note} for note in found.notes]
        tables = {"Hops": _lines(found.hops), **found.tables, "Read it with care": notes}
        hops = [asdict(hop) for hop in found.hops]
        return {"hops": hops, **found.said, "notes": list(found.notes), "tables": tables}

    return run


def _lines(hops: Iterable[Hop]) -> list[dict[str, Any]]:
    """A row a sentence: whose it is, what it is of."""
    shown = ("engine", "by", "error", "range", "handed_on")
    return [
        {"hop": hop.hop, "what": name.replace("_", " "), "it says": getattr(hop, name)}
        for hop in hops
        for name in shown
        if getattr(hop, name)
    ]


def _bring_out(out: Path) -> None:
    """Move the finished hops beside the chain's report."""
    finished = out / FINISHED
    if finished.is_dir():
        for folder in finished.iterdir():
            if not folder.name.endswith(".partial"):
                folder.rename(out / folder.name)
        shutil.rmtree(finished)


def digests(scenario: Any, base: Path) -> dict[str, str]:
    """SHA-256 of all files that a scenario names, and of those in folders that it names."""
    found: dict[str, str] = {}
    for text in _texts(scenario):
        path = base / text
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found |= {f"{text}/{one.name}": sha256_file(one) for one in files if one.is_file()}
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if 0 < len(value) <= _LONGEST_NAME:
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def errors_of(tests: dict[str, Any], outputs: Iterable[str]) -> dict[str, Any]:
    """A surrogate's errors against its simulator: test set to output to figures.

    Args:
        tests: of the release's report.
        outputs: those that are handed on.
    """
    found: dict[str, Any] = {}
    for name, scores in tests.items():
        for output in outputs:
            errors = scores["outputs"][output]
            own = errors.get("places", {}).get("year", errors)  # the sum, not its months
            figures = {key: own[key] for key in _ERRORS if own.get(key) is not None}
            found.setdefault(name, {})[output] = figures
    return found


def told_errors(errors: dict[str, Any]) -> str:
    """``errors_of`` as one sentence."""
    return "; ".join(
        f"{output} on {name!r}: "
        + ", ".join(_ERRORS[key].format(value) for key, value in figures.items())
        for name, outputs in errors.items()
        for output, figures in outputs.items()
    )
