"""What silence hides: how wrong forecasts are where no sensor stands, by leaving areas out.

Where no sensor is no error is measured either. So whole areas are left out in turn, neighbours
together, and the sensors that do stand there are taken away: a forecaster that knows no node by
name (``architecture.inductive``) is trained without them. Its forecasts there are scored

* ``blind``: with no sensor, from the nearest sensors of other areas, nearer ones counting more;
* ``new``: as if a sensor had just been put there, from its own values;
* ``seen``: beside the same forecaster trained with them, from their own values.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fairness.areas import read_areas
from fairness.groups import Areas, own_areas
from fairness.intervals import LEAST_DAYS, jackknife
from fairness.metrics import FIGURES, SUMS, figures, rounded
from models.contracts import CityGraph, FelsinaError, FloatArray, IntArray
from models.forecaster import Forecaster
from pipelines.replay import scored_by
from training.dataset import CityDataset
from training.fit import Fitted, fit
from training.loop import Listener
from training.settings import TrainSettings

VARIANTS = ("seen", "new", "blind")
INDUCTIVE = ["architecture.inductive=true", "architecture.graph=false"]
"""Settings without which a forecaster says nothing of a node that it never saw."""
NEAREST = 4
"""Sensors that stand in for one that is not there."""
_TOLD = ("wape", "bias", "coverage_90")
_KM = np.array([78.8, 111.2])
"""Of a degree of longitude, at Bologna's latitude, and of latitude."""


def leave_out(
    dataset: CityDataset,
    areas_file: Path | None,
    folds: int,
    settings: TrainSettings,
    work: Path,
    listener: Listener,
) -> dict[str, Any]:
    """Train without the sensors of whole areas, and score forecasts there.

    Args:
        dataset: an opened dataset folder.
        areas_file: a TOML file of ``fairness.areas``; the nodes' own areas when None.
        folds: times that some areas are left out; each area is left out once.
        settings: of the trainings, inductive.
        work: folder for checkpoints.
        listener: told of progress.

    Returns:
        ``dataset``, ``data`` (digests), ``unit``, ``profile``, ``folds``, ``nearest``, ``days``;
        ``all``: variant to ``wape``, ``bias``, ``coverage_90``, the mean over areas; ``worse_by``:
        how much larger the blind error is than the seen one, as a share, ``low`` and ``high``
        (None for fewer days than an interval needs); ``areas``: of each ``name``, ``fold``,
        ``sensors``, ``residents``, ``lon``, ``lat`` and its variants; ``without``: names of areas
        with no sensor, of which nothing can be measured.

    Raises:
        FelsinaError: if sensors stand in fewer than two areas, or ``folds`` are fewer than two.
    """
    graph = dataset.graph
    areas = own_areas(graph) if areas_file is None else read_areas(areas_file, graph)
    fold = folds_of(areas, graph, folds)
    daily: dict[str, FloatArray] = {}
    whole = fit(dataset, settings, work / "all", _Fold(listener, "with all sensors"))
    daily["seen"] = _scored(dataset, whole, dataset.values)
    daily |= {name: np.zeros_like(daily["seen"]) for name in ("new", "blind")}
    parts = int(fold.max()) + 1
    for number in range(parts):
        held, known = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        told = _Fold(listener, f"without part {number + 1} of {parts}")
        model = fit(dataset.part(known), settings, work / f"fold{number}", told)
        part, moved = dataset.part(held), _moved(model, dataset.part(held))
        stand_in = nearby(dataset.values, graph, held, known)
        daily["new"][:, held] = _scored(part, moved, part.values)
        daily["blind"][:, held] = _scored(part, moved, stand_in)
    return {
        "dataset": dataset.spec.dataset,
        "data": dataset.digests,
        "unit": dataset.spec.unit,
        "profile": settings.profile,
        "folds": parts,
        "nearest": NEAREST,
        "days": len(daily["seen"]),
        **_told(daily, areas, graph, fold),
    }


def read_left_out(path: Path, dataset: CityDataset) -> dict[str, Any]:
    """A record of ``leave_out`` that was written to a file.

    Raises:
        FelsinaError: if it is none, or of another dataset.
    """
    try:
        record = json.loads(path.read_bytes())
        data = record["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FelsinaError(
            f"{path}: no record of what was left out ({type(error).__name__}); felsina audit "
            "left-out writes one"
        ) from error
    if data != dataset.digests:
        raise FelsinaError(
            f"{path} is of other data than {dataset.folder}; run felsina audit left-out anew"
        )
    return record


def folds_of(areas: Areas, graph: CityGraph, folds: int) -> IntArray:
    """[N] which part of the city each node is left out with; -1 where it stands in no area.

    Parts are wedges about the middle of the city, so that neighbours are left out together, with
    about the same number of sensors each.
    """
    present = np.unique(areas.of_node[areas.of_node >= 0])
    if len(present) < 2 or folds < 2:
        raise FelsinaError(
            f"sensors stand in {len(present)} areas, to be left out in {folds} parts; both must be "
            "two at least: give --areas FILE, or --folds"
        )
    middle = np.array([_place(graph, areas.of_node == a) for a in present])
    middle = np.where(np.isnan(middle), 0, middle - np.nanmean(middle, axis=0)) * _KM
    around = np.argsort(np.arctan2(middle[:, 1], middle[:, 0]), kind="stable")
    sensors = np.array([(areas.of_node == present[a]).sum() for a in around])
    before = np.cumsum(sensors) - sensors / 2
    wedge = np.minimum((before / sensors.sum() * folds).astype(int), folds - 1)
    _, wedge = np.unique(wedge, return_inverse=True)  # an area may be larger than a wedge
    if wedge.max() == 0:
        wedge = np.arange(len(wedge))
    out = np.full(graph.nodes, -1)
    for a, part in zip(around, wedge, strict=True):
        out[areas.of_node == present[a]] = part
    return out


def nearby(values: FloatArray, graph: CityGraph, held: IntArray, known: IntArray) -> FloatArray:
    """[S, H] what ``known`` sensors say of the places of those ``held`` out.

    The mean of the ``NEAREST`` that are observed, by the inverse of their distance; of all, where
    places are not known.
    """
    at = np.stack([graph.lon, graph.lat], axis=1) * _KM
    out = np.empty((len(values), len(held)), values.dtype)
    for i, node in enumerate(held):
        distance = np.hypot(*(at[known] - at[node]).T)
        distance = np.where(np.isfinite(distance), distance, np.nanmax(np.r_[distance, 1.0]))
        order = np.argsort(distance, kind="stable")
        if np.isfinite(at[node]).all():
            order = order[:NEAREST]
        near = values[:, known[order]]
        seen = np.isfinite(near)
        weight = seen / np.maximum(distance[order], 0.05)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, i] = np.where(seen, near * weight, 0).sum(axis=1) / weight.sum(axis=1)
    return out


def _place(graph: CityGraph, nodes: np.ndarray) -> tuple[float, float]:
    """Middle of the nodes whose place is known, in degrees; NaN where none is."""
    known = nodes & np.isfinite(graph.lon) & np.isfinite(graph.lat)
    if not known.any():
        return float("nan"), float("nan")
    return float(graph.lon[known].mean()), float(graph.lat[known].mean())


def _moved(model: Fitted, dataset: CityDataset) -> Fitted:
    """A fitted forecaster for nodes that it never saw."""
    forecaster = Forecaster(model.spec, dataset.graph, model.settings.architecture)
    forecaster.load_state_dict(model.forecaster.state_dict())
    return Fitted(forecaster.eval(), model.spec, model.settings, model.seconds, model.steps)


def _scored(dataset: CityDataset, model: Fitted, values: FloatArray) -> FloatArray:
    """[D, N, S] sums a day of forecasts made from ``values``, beside what came true."""
    builder = replace(dataset, values=values).builder(model.spec)
    origins = dataset.splits.test(model.spec, dataset.start)

    def forecast(part: slice) -> FloatArray:
        return model.predict(builder.batch(origins[part]))

    return scored_by(dataset, model.spec, forecast, lambda share: None).daily.sum(axis=2)


def _told(
    daily: dict[str, FloatArray], areas: Areas, graph: CityGraph, fold: IntArray
) -> dict[str, Any]:
    """Figures of every area and of their mean, and how much worse the blind ones are."""
    labels = next(iter(areas.levels.values()))
    present = np.unique(areas.of_node[areas.of_node >= 0])
    inside = (areas.of_node[None] == present[:, None]).astype(float)
    by_area = {name: np.einsum("an,dns->das", inside, daily[name]) for name in VARIANTS}
    told = {name: figures(by_area[name].sum(axis=0)) for name in VARIANTS}
    rows = []
    for a, area in enumerate(present):
        nodes = areas.of_node == area
        lon, lat = _place(graph, nodes)
        rows.append(
            {
                "name": labels[area],
                "fold": int(fold[nodes][0]) + 1,
                "sensors": int(nodes.sum()),
                "residents": rounded(float(areas.residents[area]), 0),
                "lon": rounded(lon, 5),
                "lat": rounded(lat, 5),
                **{name: _figures(told[name][a]) for name in VARIANTS},
            }
        )
    return {
        "all": {name: _figures(np.nanmean(told[name], axis=0)) for name in VARIANTS},
        "worse_by": _worse_by(by_area["blind"], by_area["seen"]),
        "areas": rows,
        "without": [labels[a] for a in np.setdiff1d(np.arange(len(areas.residents)), present)],
    }


def _worse_by(blind: FloatArray, seen: FloatArray) -> dict[str, float | None]:
    """The mean area's blind error beside its seen one, as a share, with its interval."""
    at = FIGURES.index("wape")

    def share(sums: FloatArray) -> FloatArray:
        parts = (sums[..., : len(SUMS)], sums[..., len(SUMS) :])
        without, with_them = (np.nanmean(figures(part)[..., at], axis=-1) for part in parts)
        return (without / with_them - 1)[..., None]

    both = np.concatenate([blind, seen], axis=-1)
    estimate, low, high = float(share(both.sum(axis=0))[0]), float("nan"), float("nan")
    if len(both) >= LEAST_DAYS:
        found = jackknife(both, share)
        estimate, low, high = (float(v[0]) for v in (found.estimate, found.low, found.high))
    return {"estimate": rounded(estimate, 4), "low": rounded(low, 4), "high": rounded(high, 4)}


def _figures(row: FloatArray) -> dict[str, float | None]:
    return {name: rounded(row[FIGURES.index(name)], 4) for name in _TOLD}


class _Fold:
    """A listener that says which sensors a training is without."""

    def __init__(self, listener: Listener, text: str) -> None:
        self.listener, self.text = listener, text

    def progress(self, stage: str, share: float) -> None:
        """Hand the training on under its own name; the rest takes no time."""
        if stage == "train":
            self.listener.progress(f"Train {self.text}", share)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses are not shown."""
