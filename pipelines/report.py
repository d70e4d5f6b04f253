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
from fairness.verdict import verdict
from models.board import BOARD, SHOWN, STREAM
from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, sha256_file
from models.stream import utc_now
from pipelines.audit import audit_release, unaudited
from pipelines.gate import Replays, gate_of
from pipelines.present import RECORD, read_board, reports
from pipelines.release import sync_folder
from pipelines.replay import Progress, check_data
from pipelines.report_pages import pages, rendered, with_pages
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
from serving.release import INPUTS, Release, load_release
from training.dataset import CityDataset

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


def is_surrogate(release: Path) -> bool:
    """Whether a sealed folder is a surrogate's."""
    return (release / INPUTS).is_file()


def gather(
    inputs: Inputs, progress: Progress = lambda share: None, kept: Path | None = None
) -> dict[str, Any]:
    """All of a report, JSON-ready.

    Args:
        inputs: what it is made of.
        progress: told the share that is done.
        kept: folder of replays that were made before; None makes all of them anew.

    Raises:
        FelsinaError: if the release is broken or was made from other data, or a file is wrong.
    """
    if is_surrogate(inputs.release):
        return gather_surrogate(inputs.release, inputs.about)
    release, dataset = load_release(inputs.release), inputs.dataset
    assert dataset is not None, "a forecaster's report needs its data"
    private = release.of_protected_rows
    if not private:  # whose release names no digest of its rows
        check_data(release, dataset)
    about, replays = read_about(inputs.about), Replays(dataset, kept)
    before = None if inputs.champion is None else load_release(inputs.champion)
    gate = gate_of(release, before, inputs.areas, replays, progress)
    audit = (
        unaudited(release)
        if private
        else audit_release(
            release.folder,
            dataset,
            inputs.areas,
            left_out=inputs.left_out,
            scored=replays.of(release),
        )
    )
    champion = None if before is None else champion_part(release, before, gate)
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
        "gate": gate.record,
        "audit": audit,
        "privacy": privacy_part(release),
        "federation": release.manifest.get("federation"),
        "robustness": robustness_part(release),
        "cases": [dict(case) for case in inputs.cases],
    }
    return with_pages(record | {"verdict": verdict(record)})


def build(
    inputs: Inputs,
    home: Path,
    pdf: bool = False,
    progress: Progress = lambda share: None,
    again: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Write a report's folder from what it is made of, as ``write`` does.

    Returns:
        The folder and the record.
    """
    record = gather(inputs, progress)
    return write(record, home, pdf, again), record


def write(record: dict[str, Any], home: Path, pdf: bool = False, again: bool = False) -> Path:
    """Write a report's folder: ``report.json`` and every page, all of them or none.

    Args:
        record: the whole of it.
        home: the ``mlruns`` folder.
        pdf: with a PDF of each page.
        again: also where it replaces another report, which the board has ruled on.

    Raises:
        FelsinaError: if the board has ruled on the report that would be replaced.
    """
    folder = reports(home, record["release"])
    files = {RECORD: canonical_json(record)} | pages(record, pdf)
    with held(folder.parent / f".{folder.name}.lock"):
        if not again and (decision := ruled_on(home, record)):
            raise FelsinaError(
                f"{folder / RECORD}: the board's decision {decision[:SHOWN]} is on this report, "
                "and what would be built is another; keep it, or say --again and let the board "
                "decide anew"
            )
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
    return folder


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
        found = with_pages(found | {"cases": kept["cases"]})
    faults = differences(kept, found)
    faults = [name for name in faults if not name.startswith("pages")] or faults  # they follow
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


def ruled_on(home: Path, record: dict[str, Any]) -> str:
    """The board's decision on the report that another record would replace; empty for none.

    Where there is one, citizens would no longer see what it stands on.
    """
    path, stream = reports(home, record["release"]) / RECORD, home / BOARD / STREAM
    if not (path.is_file() and stream.is_file()):
        return ""
    old = sha256_file(path)
    ruling = read_board(stream.parent).ruling(record["manifest_sha256"], utc_now())
    stands = ruling.report_sha256 == old != sha256_bytes(canonical_json(record))
    return str(ruling.decision) if stands else ""


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
