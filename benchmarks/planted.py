"""Faults planted into a real release's test span: whom the audit says is hurt.

    python -m benchmarks.planted --dataset DIR --release NAME --group "Certosa Nuova"

The release is replayed as it is and with each fault in the nodes of one area, from the first day of
the test span on: its sensors are gone, its clock is three hours late, its values are a quarter too
high, its band is half as wide. Markdown on stdout: every fail by area, and silent sensors.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.tables import head, row
from fairness.audit import FAIL, audit
from fairness.metrics import SUMS
from pipelines.audit import tell_apart
from pipelines.present import find_release
from pipelines.replay import score_release
from pipelines.settings import home
from pipelines.train import open_registered
from serving.release import Release, load_release
from serving.runtime import Runtime
from training.dataset import CityDataset

LATE_HOURS = 3


def main() -> None:
    """Plant one fault after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--group", required=True)
    asked = parser.parse_args()
    dataset = open_registered(asked.dataset)
    release = load_release(find_release(home(), asked.release))
    nodes = np.array(dataset.graph.areas) == asked.group
    test = dataset.splits.validation_end
    late, high, gone = (dataset.values.copy() for _ in range(3))
    steps = LATE_HOURS * 3600 // dataset.spec.seconds
    late[test:, nodes] = dataset.values[test - steps : -steps, nodes]
    high[test:, nodes] *= 1.25
    gone[test:, nodes] = np.nan
    head("planted in " + asked.group, "fails by area", "silent sensors")
    for name, values, factor in (
        ("nothing", dataset.values, 1.0),
        ("its sensors are gone", gone, 1.0),
        ("its clock is three hours late", late, 1.0),
        ("its values are a quarter too high", high, 1.0),
        ("its band is half as wide", dataset.values, 0.5),
    ):
        row(name, *_found(replace(dataset, values=values), release, nodes, factor))


def _found(
    dataset: CityDataset, release: Release, nodes: np.ndarray, factor: float
) -> tuple[str, str]:
    middle = release.spec.quantiles.index(0.5)

    class Narrowed(Runtime):
        def __init__(self, release: Release) -> None:
            super().__init__(release)
            whole = self.predict

            def narrow(window):  # noqa: ANN001, ANN202
                quantiles = whole(window)
                median = quantiles[:, :, nodes, middle : middle + 1]
                quantiles[:, :, nodes] = median + factor * (quantiles[:, :, nodes] - median)
                return quantiles

            self.predict = narrow

    with patch("pipelines.replay.Runtime", Narrowed):
        daily = score_release(release, dataset).daily
    areas, found = tell_apart(dataset, None)
    (record,) = audit(daily, tuple(g for g in found if g.attribute == "area"), areas)
    fails = [
        f"{group['name']}: {name} {judged['worse_by']:+.0%}"
        for name, harm in record["weighted"]["area"]["harms"].items()
        for group, judged in zip(record["groups"], harm, strict=True)
        if judged["verdict"] == FAIL
    ]
    count = daily[..., SUMS.index("count")].sum(axis=(0, 2))
    silent = int((count[nodes] == 0).sum())
    return "; ".join(fails) or "none", f"{silent} of {nodes.sum()}"


if __name__ == "__main__":
    main()
