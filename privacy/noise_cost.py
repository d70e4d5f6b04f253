"""What noise costs in error, group by group, beside a twin that was trained without it.

These errors are of private rows: no epsilon covers them, so they are shown by the partner's
agreement alone, for groups of ten units or more, and rounded. The twin never leaves the house.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from models.contracts import FelsinaError, FloatArray, IntArray, Window
from models.forecaster import Forecaster
from privacy.audit_run import untrained_gradients
from privacy.dp import PrivateSettings, PrivateTraining
from privacy.draws import SecretDraws, new_key
from training.dataset import CityDataset
from training.fit import forecasts
from training.loop import Listener
from training.ridge import tensors

LEAST_GROUP = 10
"""Units below which a group's error is nobody's business."""
DIGITS = 3
"""Of an error that is shown."""
MOST_ORIGINS = 100
"""Test origins that errors are taken over; more are thinned."""
_TOGETHER = 256
"""Nodes that are forecast at once."""


@dataclass(frozen=True)
class GroupError:
    """Mean absolute error of the median in a group of nodes, in the target's unit.

    Attributes:
        group: value of the attribute.
        units: in it, rounded down to tens.
        with_noise: of the released forecaster.
        without_noise: of its twin.
    """

    group: str
    units: int
    with_noise: float
    without_noise: float


@dataclass(frozen=True)
class PrivateErrors:
    """What noise costs on private rows of the test span.

    Attributes:
        attribute: static, by which nodes are grouped.
        unit: of the errors.
        origins: of the test span.
        groups: of ``LEAST_GROUP`` units or more.
        suppressed: smaller groups, of which nothing is told.
        overall: of all groups that are told of together; None where there is none.
    """

    attribute: str
    unit: str
    origins: int
    groups: tuple[GroupError, ...]
    suppressed: int
    overall: GroupError | None


def noiseless_twin(
    dataset: CityDataset,
    settings: PrivateSettings,
    listener: Listener,
    public: CityDataset | None = None,
    steps: int | None = None,
) -> Forecaster:
    """The same training with the noise left out; it is of private rows and stays in the house.

    Args:
        dataset: the private one.
        settings: of the release.
        listener: told of progress.
        public: dataset of the release's backbone.
        steps: that the release took; None for all of the settings.
    """
    taken = settings.steps if steps is None else steps
    gradients = untrained_gradients(dataset, settings, public)
    training = PrivateTraining(gradients, SecretDraws(new_key()), settings, 0.0)
    for step in range(taken):
        training.take(step)
        listener.progress("twin", (step + 1) / taken)
    return gradients.forecaster.eval()


def groups_of(dataset: CityDataset, attribute: str) -> tuple[str, ...]:
    """The group of each node by ``area`` or another column of ``nodes.csv``.

    Raises:
        FelsinaError: for a column that is not there.
    """
    columns = {"area": dataset.graph.areas, **dataset.graph.attributes}
    if attribute not in columns:
        raise FelsinaError(
            f"{dataset.folder / 'nodes.csv'}: no column {attribute}; group by one of "
            f"{', '.join(columns)}"
        )
    return columns[attribute]


def private_errors(
    dataset: CityDataset,
    released: Forecaster,
    twin: Forecaster,
    attribute: str = "area",
    progress: Callable[[float], None] = lambda share: None,
) -> PrivateErrors:
    """Compare both on the test span, group by group.

    An error over everybody would give a suppressed group away by what it differs from the others,
    so the overall one leaves those groups out as well.

    Args:
        dataset: the private one, each node a unit.
        released: trained with noise.
        twin: from ``noiseless_twin``.
        attribute: ``area``, or another column of ``nodes.csv``.
        progress: told of the share that is done.

    Raises:
        FelsinaError: for a column that is not there.
    """
    names = np.array(groups_of(dataset, attribute))
    origins = dataset.splits.test(released.spec, dataset.start)
    origins = origins[:: -(-len(origins) // MOST_ORIGINS)]
    errors = np.stack(
        [
            _by_node(dataset, one, origins, lambda share, done=done: progress((done + share) / 2))
            for done, one in enumerate((released, twin))
        ]
    )
    observed = np.isfinite(errors).all(0)
    groups, shown, suppressed = [], np.zeros(len(names), bool), 0
    for name in sorted(set(names[observed].tolist())):
        mine = observed & (names == name)
        if mine.sum() < LEAST_GROUP:
            suppressed += 1
            continue
        shown |= mine
        groups.append(_group(name, errors[:, mine]))
    return PrivateErrors(
        attribute=attribute,
        unit=dataset.spec.unit,
        origins=len(origins),
        groups=tuple(groups),
        suppressed=suppressed,
        overall=_group("", errors[:, shown]) if groups else None,
    )


def _group(name: str, errors: FloatArray) -> GroupError:
    """Of errors [2, units]."""
    noisy, bare = (float(f"{value:.{DIGITS}g}") for value in errors.mean(1))
    return GroupError(name, errors.shape[1] // 10 * 10, noisy, bare)


def _by_node(
    dataset: CityDataset,
    forecaster: Forecaster,
    origins: IntArray,
    progress: Callable[[float], None],
) -> FloatArray:
    """Mean absolute error [N] of the median, NaN where nothing was observed."""
    middle = forecaster.spec.quantiles.index(0.5)

    def predict(window: Window) -> FloatArray:
        inputs = tensors(window)
        inputs.pop("target", None)
        with torch.inference_mode():
            return forecaster(**inputs).numpy()

    found = []
    for start in range(0, dataset.graph.nodes, _TOGETHER):
        nodes = np.arange(start, min(start + _TOGETHER, dataset.graph.nodes))
        builder = dataset.part(nodes).builder(forecaster.spec)
        quantiles, target = forecasts(predict, builder, origins, batch=8)
        seen = ~np.isnan(target)
        missed = np.where(seen, np.abs(quantiles[..., middle] - target), 0).sum((0, 1))
        count = seen.sum((0, 1))
        found.append(np.where(count > 0, missed / np.maximum(count, 1), np.nan))
        progress(min(1.0, (start + _TOGETHER) / dataset.graph.nodes))
    return np.concatenate(found)
