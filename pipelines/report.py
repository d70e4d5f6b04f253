"""The ethics board's report of a release: gathered, rendered and written whole, or checked.

All that a report says is regenerated from the release, the dataset, the areas, the human-written
parts and the champion, whose digests it names; it holds no clock and no path.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairness.about import read_about
from fairness.areas import area_files
from fairness.board import STREAM
from fairness.verdict import verdict
from models.board import SHOWN
from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, sha256_file
from models.stream import utc_now
from pipelines import domains
from pipelines.audit import audit_release, unaudited
from pipelines.board import BOARD, read_board
from pipelines.release import sync_folder
from pipelines.replay import Progress
from pipelines.report_pages import pages, rendered
from pipelines.report_parts import (
    area_map,
    champion_part,
    data_part,
    identity,
    performance_part,
    privacy_part,
    robustness_part,
)
from pipelines.settings import held
from pipelines.surrogate_report import gather_surrogate
from serving.cases import OPEN
from serving.release import INPUTS, Release, champions, load_release
from training.dataset import CityDataset

RECORD = "report.json"
FORMAT = 1
_OF_A_CASE = ("number", "dataset", "area", "subject", "opened")
_ANSWERS = ("answer_it", "answer_en")


@dataclass(frozen=True)
class Inputs:
    """All that a report is made of.

    Attributes:
        release: a forecaster's sealed folder, or a surrogate's: that takes ``about`` alone.
        dataset: that a forecaster was made from.
        areas: TOML file of ``fairness.areas``; None goes by the nodes' own columns.
        about: TOML file of ``fairness.about``; None has every part missing.
        champion: folder of the release that it would replace, if any.
        left_out: record of ``felsina audit left-out``, if one was made.
        cases: what citizens contest of this dataset, published.
    """

    release: Path
    dataset: CityDataset | None = None
    areas: Path | None = None
    about: Path | None = None
    champion: Path | None = None
    left_out: Path | None = None
    cases: tuple[dict[str, Any], ...] = ()


def reports(home: Path, release: str) -> Path:
    """Where the report of a release lies."""
    return home / "reports" / release


def about_file(domain: str, name: str, dataset: Path | None = None) -> Path | None:
    """The human-written parts of a dataset, beside it, or those that come with its domain."""
    shipped = Path(domains.__file__).parent / domain / "about" / f"{name}.toml"
    beside = [] if dataset is None else [dataset / "about.toml"]
    return next((path for path in (*beside, shipped) if path.is_file()), None)


def is_surrogate(release: Path) -> bool:
    """Whether a sealed folder is a surrogate's."""
    return (release / INPUTS).is_file()


def served_now(home: Path, dataset: str, other_than: str = "") -> Path | None:
    """Folder of the release that is served for a dataset, by its board where there is one.

    None where there is none, or it is the one of the name ``other_than``.
    """
    stream = home / BOARD / STREAM
    if stream.is_file():
        promoted = read_board(stream.parent).promoted(dataset)
        folder = home / "releases" / promoted[0].release if promoted else None
    else:
        folder = champions(home).get(dataset)
    return folder if folder and folder.is_dir() and folder.name != other_than else None


def gather(inputs: Inputs, progress: Progress = lambda share: None) -> dict[str, Any]:
    """All of a report, JSON-ready.

    Raises:
        FelsinaError: if the release is broken or was made from other data, or a file is wrong.
    """
    if is_surrogate(inputs.release):
        return gather_surrogate(inputs.release, inputs.about)
    release, dataset = load_release(inputs.release), inputs.dataset
    assert dataset is not None, "a forecaster's report needs its data"
    about = read_about(inputs.about)
    half = 1.0 if inputs.champion is None else 0.5
    private = bool(release.manifest["privacy"]["differential_privacy"])
    audit = (
        unaudited(release)
        if private
        else audit_release(
            release.folder,
            dataset,
            inputs.areas,
            lambda share: progress(share * half),
            inputs.left_out,
        )
    )
    champion = None
    if inputs.champion is not None:
        champion = champion_part(
            release,
            load_release(inputs.champion),
            audit,
            lambda folder: audit_release(
                folder, dataset, inputs.areas, lambda share: progress(half + share * half)
            ),
        )
    record = {
        "format": FORMAT,
        "release": release.id,
        "manifest_sha256": release.sha256,
        "dataset": release.spec.dataset,
        "domain": release.spec.domain,
        "missing": about.lacking(),
        "inputs": _inputs(inputs, release, champion),
        "identity": identity(release),
        "about": about.to_dict(),
        "data": data_part(release),
        "map": area_map(release.graph, dataset.graph, inputs.areas),
        "performance": performance_part(release),
        "champion": champion,
        "audit": audit,
        "privacy": privacy_part(release),
        "federation": release.manifest.get("federation"),
        "robustness": robustness_part(release),
        "cases": [dict(case) for case in inputs.cases],
    }
    return record | {"verdict": verdict(record)}


def build(
    inputs: Inputs,
    home: Path,
    pdf: bool = False,
    progress: Progress = lambda share: None,
    again: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Write a report's folder: ``report.json`` and every page, all of them or none.

    Args:
        inputs: what it is made of.
        home: the ``mlruns`` folder.
        pdf: with a PDF of each page.
        progress: is told the share that is done.
        again: also where it replaces another report, which the board has ruled on.

    Returns:
        The folder and the record.

    Raises:
        FelsinaError: if the board has ruled on the report that would be replaced.
    """
    record = gather(inputs, progress)
    folder = reports(home, record["release"])
    files = {RECORD: canonical_json(record)} | pages(record, pdf)
    with held(folder.parent / f".{folder.name}.lock"):
        if not again:
            _check_not_signed(home, folder / RECORD, record)
        part, old = (folder.with_name(f".{folder.name}.{state}") for state in ("part", "old"))
        for stale in (part, old):
            shutil.rmtree(stale, ignore_errors=True)
        part.mkdir()
        for name, content in files.items():
            (part / name).write_bytes(content)
        sync_folder(part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder, record


def read_report(folder: Path) -> dict[str, Any]:
    """A report's record.

    Raises:
        FelsinaError: if there is none.
    """
    path = folder / RECORD
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FelsinaError(
            f"{path}: no report ({type(error).__name__}); make it with felsina report build"
        ) from error


def verify(
    inputs: Inputs, home: Path, progress: Progress = lambda share: None
) -> tuple[Path, list[str]]:
    """Regenerate a report and compare it, byte for byte.

    Contested cases are the one part that goes on by itself: those in the report must be cases that
    there are, and may since have been answered.

    Returns:
        Its folder, and the sections and files that are not what the inputs give.
    """
    folder = reports(home, inputs.release.name)
    content = (folder / RECORD).read_bytes() if (folder / RECORD).is_file() else b""
    kept = read_report(folder)
    found = gather(inputs, progress)
    if _went_on(kept.get("cases", []), found["cases"]):
        found["cases"] = kept["cases"]
    faults = differences(kept, found)
    if not faults and canonical_json(found) != content:
        faults = [RECORD]
    said = rendered(kept, pdf=any(folder.glob("*.pdf")))
    held_files = {path.name for path in folder.iterdir()} - {RECORD}
    faults += sorted(
        name
        for name in held_files | set(said)
        if not (folder / name).is_file() or (folder / name).read_bytes() != said.get(name)
    )
    return folder, faults


def differences(kept: Any, found: Any, name: str = "") -> list[str]:
    """Sections that differ, two levels deep: ``audit.groupings``."""
    if not (isinstance(kept, dict) and isinstance(found, dict)) or name.count(".") > 0:
        return [] if canonical_json(kept) == canonical_json(found) else [name]
    members = sorted(kept.keys() | found.keys())
    missing = object()
    faults = []
    for member in members:
        full = f"{name}.{member}" if name else member
        pair = kept.get(member, missing), found.get(member, missing)
        faults += [full] if missing in pair else differences(*pair, full)
    return faults


def _check_not_signed(home: Path, path: Path, record: dict[str, Any]) -> None:
    """Refuse to replace a report that a ruling stands on: citizens would no longer see it."""
    stream = home / BOARD / STREAM
    if not (path.is_file() and stream.is_file()):
        return
    old = sha256_file(path)
    ruling = read_board(stream.parent).ruling(record["manifest_sha256"], utc_now())
    if ruling.report_sha256 == old != sha256_bytes(canonical_json(record)):
        raise FelsinaError(
            f"{path}: the board's decision {str(ruling.decision)[:SHOWN]} is on this report, and "
            "what would be built is another; keep it, or say --again and let the board decide anew"
        )


def _went_on(kept: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    """Whether cases of a report are cases of today, some of them answered or closed since."""
    today = {case["number"]: case for case in now}
    for case in kept:
        other = today.get(case["number"])
        if other is None or any(case[key] != other[key] for key in _OF_A_CASE):
            return False
        answers = [tuple(one[key] or "" for key in _ANSWERS) for one in (case, other)]
        if answers[0] != (answers[1] if case["state"] != OPEN else ("", "")):
            return False
    return True


def _inputs(inputs: Inputs, release: Release, champion: dict[str, Any] | None) -> dict[str, Any]:
    """Digests of all that went in; of private rows, what the release says of them."""
    return {
        "dataset": release.manifest["data"]["digests"],
        "release": release.manifest["files"],
        "areas": None
        if inputs.areas is None
        else {path.name: sha256_file(path) for path in area_files(inputs.areas)},
        "about": None if inputs.about is None else sha256_file(inputs.about),
        "champion": champion and champion["manifest_sha256"],
        "left_out": None if inputs.left_out is None else sha256_file(inputs.left_out),
    }
