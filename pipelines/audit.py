"""The audit of a forecaster: its forecasts of the test span, scored by group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairness.areas import read_areas
from fairness.audit import audit, evidence
from fairness.coverage import coverage
from fairness.groups import Areas, Grouping, groupings, own_areas, record_groupings
from fairness.metrics import SUMS, lead_bands
from fairness.watching import watch_groups
from models.contracts import FelsinaError
from pipelines.floods import warnings_by_group
from pipelines.left_out import read_left_out
from pipelines.replay import Progress, Scored, check_data, score_release, score_trained
from pipelines.scenario_audit import read_scenario
from pipelines.train import Trained
from serving.release import Release, load_release
from training.dataset import CityDataset

BESIDE = "seasonal naive (a week before)"
"""What errors are compared with."""
PRIVATE_ROWS = "private_rows"
"""Why there is no evidence about groups of a private release."""


def audit_trained(trained: Trained, areas_file: Path | None = None) -> dict[str, Any]:
    """Judge whom a backtested forecaster serves badly.

    Args:
        trained: its folder holds the backtest's forecasts.
        areas_file: a TOML file of ``fairness.areas``; the nodes' own columns when None.

    Raises:
        FelsinaError: if its nodes cannot be told apart, or the areas' file is wrong.
    """
    told_apart = tell_apart(trained.dataset, areas_file)
    check_groups(trained.dataset, told_apart[1])
    return {"trained": trained.folder.name} | _audited(score_trained(trained), *told_apart)


def audit_release(
    folder: Path,
    dataset: CityDataset,
    areas_file: Path | None = None,
    progress: Progress = lambda share: None,
    left_out: Path | None = None,
    scenarios: Sequence[Path] = (),
    scored: Scored | None = None,
) -> dict[str, Any]:
    """Judge whom a sealed release serves badly, by replaying it over the test span.

    The record holds no clock and no path: the same release, dataset and areas give the same bytes.
    It holds ``floods`` of ``pipelines.floods`` besides, where nodes have thresholds.

    Args:
        folder: of the release.
        dataset: that it was made from.
        areas_file: a TOML file of ``fairness.areas``; the nodes' own columns when None.
        progress: told the share done.
        left_out: a file of ``pipelines.left_out``, shown as ``left_out``.
        scenarios: files of ``pipelines.scenario_audit``, shown as ``scenarios``.
        scored: its replay, where that was made already.

    Raises:
        FelsinaError: if the release is broken, the dataset is another one, or the areas' file is
            wrong. Where nodes cannot be told apart, ``groupings`` is empty.
    """
    release = load_release(folder.resolve())
    check_data(release, dataset)  # before areas, which are of this dataset
    told_apart = tell_apart(dataset, areas_file)
    if scored is None:
        scored = score_release(release, dataset, progress)
    sealed = {"release": release.id, "manifest_sha256": release.sha256}
    record = sealed | _audited(scored, *told_apart)
    if left_out is not None:
        record["left_out"] = read_left_out(left_out, dataset)
    if scenarios:
        record["scenarios"] = [read_scenario(path) for path in scenarios]
    floods = warnings_by_group(release, dataset, told_apart[1], told_apart[0])
    return record if floods is None else record | {"floods": floods}


def unaudited(release: Release) -> dict[str, Any]:
    """What stands for the audit of a private release.

    Figures by group would tell of private rows what no noise hides and no ledger paid for.
    """
    data, spec = release.manifest["data"], release.spec
    return {
        "release": release.id,
        "manifest_sha256": release.sha256,
        "dataset": spec.dataset,
        "unit": spec.unit,
        "days": 0,
        "from": data["validation_end"][:10],
        "to": data["end"][:10],
        "beside": BESIDE,
        "lead_bands": [list(band) for band in lead_bands(spec.horizon)],
        "evidence": {"days": 0, "sensors": 0, "silent": 0, "thin": True, "why": [PRIVATE_ROWS]},
        "groupings": [],
    }


def check_groups(dataset: CityDataset, found: tuple[Grouping, ...]) -> None:
    """Refuse to judge whom a forecaster serves badly where there are no two groups."""
    if not found:
        raise FelsinaError(
            f"{dataset.folder}: no column of nodes.csv tells two groups of nodes apart; add area, "
            "residents or others, or give --areas FILE"
        )


def tell_apart(dataset: CityDataset, areas_file: Path | None) -> tuple[Areas, tuple[Grouping, ...]]:
    """Where nodes stand, and how they are told apart: by what is known, else by their records.

    A single node, or a few alike, give no groups.
    """
    graph = dataset.graph
    areas = own_areas(graph) if areas_file is None else read_areas(areas_file, graph)
    found = groupings(graph, areas)
    read = sorted({g.attribute for g in found} & {f.name for f in dataset.spec.forcings})
    if read:
        raise FelsinaError(
            f"{dataset.folder}: the forecaster reads {', '.join(read)}, by which people are told "
            "apart; what is audited must be no feature: leave the forcing out, or rename the column"
        )
    return areas, found or record_groupings(dataset.values[: dataset.splits.train_end])


def _audited(scored: Scored, areas: Areas, found: tuple[Grouping, ...]) -> dict[str, Any]:
    """What a record says of any forecaster.

    ``dataset``, ``unit``, ``days``, ``from``, ``to``; ``beside``: what the error is compared with;
    ``lead_bands``; ``evidence``, ``groupings``, ``watch`` of ``fairness.audit.evidence`` and
    ``audit`` and ``fairness.watching.watch_groups``; where areas are known, ``coverage`` of
    ``fairness.coverage.coverage``.
    """
    spec = scored.spec
    times = scored.dataset.builder(spec).times
    heard = scored.daily[..., SUMS.index("count")].sum(axis=(0, 2)) > 0
    placed = {"coverage": coverage(areas, heard)} if len(areas.residents) else {}
    return {
        "dataset": spec.dataset,
        "unit": spec.unit,
        "days": len(scored.daily),
        "from": str(scored.days[0]),
        "to": str(times(scored.origins[-1:] + spec.horizon)[0].astype("datetime64[D]")),
        "beside": BESIDE,
        "lead_bands": [list(band) for band in lead_bands(spec.horizon)],
        "evidence": evidence(scored.daily),
        "groupings": audit(scored.daily, found, areas, has_zero=spec.nonnegative),
        "watch": watch_groups(scored.daily, scored.days, found, areas),
        **placed,
    }
