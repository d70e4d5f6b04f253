"""What goes with a private release: how hard it was tried, and what privacy cost in error.

The audit is of stand-ins and costs nothing. The errors are of private rows: no epsilon covers them,
so they are shown by the partner's agreement alone, for groups of ten units or more, rounded, and
the document says so. The twin that was trained without noise never leaves the house.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from models.contracts import FelsinaError, FloatArray, IntArray, Window
from models.forecaster import Forecaster
from models.record import canonical_json
from privacy.accounting import Epsilon, SampledGaussian
from privacy.audit_run import PrivateAudit, untrained_gradients
from privacy.dp import PrivateFit, PrivateSettings, PrivateTraining
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
) -> Forecaster:
    """The same training with the noise left out; it is of private rows and stays in the house."""
    gradients = untrained_gradients(dataset, settings, public)
    training = PrivateTraining(gradients, SecretDraws(new_key()), settings, 0.0)
    for step in range(settings.steps):
        training.take(step)
        listener.progress("twin", (step + 1) / settings.steps)
    return gradients.forecaster.eval()


def private_errors(
    dataset: CityDataset, released: Forecaster, twin: Forecaster, attribute: str = "area"
) -> PrivateErrors:
    """Compare both on the test span, group by group.

    An error over everybody would give a suppressed group away by what it differs from the others,
    so the overall one leaves those groups out as well.

    Args:
        dataset: the private one, each node a unit.
        released: trained with noise.
        twin: from ``noiseless_twin``.
        attribute: ``area``, or another column of ``nodes.csv``.

    Raises:
        FelsinaError: for a column that is not there.
    """
    graph = dataset.graph
    columns = {"area": graph.areas, **graph.attributes}
    if attribute not in columns:
        raise FelsinaError(
            f"{dataset.folder / 'nodes.csv'}: no column {attribute}; group by one of "
            f"{', '.join(columns)}"
        )
    origins = dataset.splits.test(released.spec, dataset.start)
    origins = origins[:: -(-len(origins) // MOST_ORIGINS)]
    errors = np.stack([_by_node(dataset, one, origins) for one in (released, twin)])
    observed = np.isfinite(errors).all(0)
    names = np.array(columns[attribute])
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


def evidence(
    settings: PrivateSettings,
    mechanism: SampledGaussian,
    epsilon: Epsilon,
    audit: PrivateAudit,
    errors: PrivateErrors | None = None,
) -> dict[str, Any]:
    """What goes with a release, JSON-ready and the same bytes wherever it is encoded.

    Args:
        settings: of the release.
        mechanism: the steps that its weights hold.
        epsilon: what these spend, by each accountant.
        audit: of the same settings.
        errors: where the partner agrees that they are shown.

    Raises:
        FelsinaError: where the audit is of other settings.
    """
    if audit.settings != settings:
        changed = [
            name
            for name in PrivateSettings.model_fields
            if getattr(audit.settings, name) != getattr(settings, name)
        ]
        raise FelsinaError(
            f"the audit is of other settings ({', '.join(changed)}); audit those of the release"
        )
    if audit.noise_multiplier != mechanism.noise_multiplier:
        raise FelsinaError(
            f"the audit ran with noise {audit.noise_multiplier:g}, the release with "
            f"{mechanism.noise_multiplier:g}; audit what was released"
        )
    record = {
        "settings": settings.model_dump(mode="json"),
        "mechanism": asdict(mechanism),
        "epsilon": asdict(epsilon),
        "audit": audit.to_dict(),
        "membership_auc": {"white_box": audit.white_box.auc, "black_box": audit.black_box.auc},
        "errors": None if errors is None else _shown(errors),
    }
    canonical_json(record)  # refuses what is no number
    return record


def evidence_of(
    fit: PrivateFit, audit: PrivateAudit, errors: PrivateErrors | None = None
) -> dict[str, Any]:
    """``evidence`` of a training that took at least one step."""
    if fit.mechanism is None:
        raise FelsinaError(
            f"{fit.spec.dataset}: not one step was paid for, so there is nothing to show"
        )
    return evidence(fit.settings, fit.mechanism, fit.epsilon, audit, errors)


def _shown(errors: PrivateErrors) -> dict[str, Any]:
    return {**asdict(errors), "least_group": LEAST_GROUP, "covered_by_epsilon": False}


def _group(name: str, errors: FloatArray) -> GroupError:
    """Of errors [2, units]."""
    noisy, bare = (float(f"{value:.{DIGITS}g}") for value in errors.mean(1))
    return GroupError(name, errors.shape[1] // 10 * 10, noisy, bare)


def _by_node(dataset: CityDataset, forecaster: Forecaster, origins: IntArray) -> FloatArray:
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
    return np.concatenate(found)
