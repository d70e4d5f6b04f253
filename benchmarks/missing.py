"""Coverage of the 80 % band when inputs are missing, with and without the measured widening.

    python -m benchmarks.missing [--profile quick] [--origins 200] DATASET_FOLDER ...

Prints Markdown tables on stdout, progress on stderr. One model a dataset, trained once (kept in
``FELSINA_HOME``); its table was measured on calibration windows, what is shown is the test span.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.contenders import Quiet
from benchmarks.tables import head, row
from models.contracts import BoolArray, FloatArray, ForecastSpec
from models.missing import widened
from pipelines.settings import home
from pipelines.train import MISSING, open_registered, settings_for, train
from training.missing import hidden

Loss = Callable[[np.random.Generator], BoolArray]
"""Draws what is lost [T, N] of one window."""
_BATCH = 32


def losses(spec: ForecastSpec, nodes: int) -> dict[str, Loss]:
    """What a city loses, by name."""
    steps = spec.lookback

    def dark(last: int, share: float) -> Loss:
        def draw(rng: np.random.Generator) -> BoolArray:
            lost = np.zeros((steps, nodes), bool)
            lost[steps - last :] = True
            return lost & (rng.random(nodes) < share)

        return draw

    def gaps(share: float) -> Loss:
        return lambda rng: rng.random((steps, nodes)) < share

    late = sorted({1, 3, max(4, steps // 14)})
    return {
        "nothing": dark(0, 1),
        **{f"all nodes, last {k} steps (late)": dark(k, 1) for k in late},
        "gaps, a quarter of all values": gaps(0.25),
        "gaps, half of all values": gaps(0.5),
        "a third of the nodes, last quarter": dark(steps // 4, 1 / 3),
        "a third of the nodes, last half": dark(steps // 2, 1 / 3),
        "a third of the nodes, everything": dark(steps, 1 / 3),
        "all nodes, last half": dark(steps // 2, 1),
    }


def covered(quantiles: FloatArray, target: FloatArray, of: BoolArray, q: int) -> float:
    """Share of targets inside the central band that begins at quantile ``q``."""
    inside = (target >= quantiles[..., q]) & (target <= quantiles[..., -1 - q])
    return float(inside[of].mean())


def compare(folder: Path, profile: str, count: int) -> None:
    """A table of one dataset."""
    dataset = open_registered(folder)
    trained = train(dataset, settings_for(dataset, profile), home(), Quiet())
    spec, builder = trained.fitted.spec, dataset.builder(trained.fitted.spec)
    plain, record = trained.fitted.predict, trained.run[MISSING]
    wide = widened(plain, record, spec)
    test = dataset.splits.test(spec, dataset.start)
    origins = test[np.linspace(0, len(test) - 1, min(count, len(test))).astype(int)]
    low = spec.quantiles.index(0.1)
    natural = np.isnan(dataset.values[dataset.splits.validation_end :]).mean()
    print(
        f"\n### {spec.dataset}\n\n{dataset.graph.nodes} nodes, lookback {spec.lookback} x "
        f"{spec.step}, horizon {spec.horizon}; {natural:.0%} of the test span's values are missing "
        f"as they are; table from {record.get('windows', 0)} windows, {len(origins)} test origins."
    )
    head("lost", "80 % band, as released", "widened", "90 %, as released", "widened", "width x")
    for name, draw in losses(spec, dataset.graph.nodes).items():
        print(spec.dataset, name, file=sys.stderr)
        rng = np.random.default_rng(0)
        parts: list[tuple[FloatArray, ...]] = []
        for start in range(0, len(origins), _BATCH):
            batch = origins[start : start + _BATCH]
            mask = np.array([draw(rng) for _ in batch])
            window = builder.batch(batch, with_target=True)
            assert window.target is not None
            less = hidden(builder, window, batch, mask)
            hit = mask.any(axis=1) if mask.any() else np.ones_like(mask[:, 0])
            target = np.where(hit[:, None], window.target, np.nan)
            parts.append((target, plain(less), wide(less)))
        target, released, wider = (np.concatenate(part) for part in zip(*parts, strict=True))
        of = ~np.isnan(target)
        shares = [
            f"{covered(quantiles, target, of, q):.1%}"
            for q in (low, 0)
            for quantiles in (released, wider)
        ]
        widths = [float((q[..., -1 - low] - q[..., low])[of].mean()) for q in (released, wider)]
        row(name, *shares, f"{widths[1] / widths[0]:.2f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--origins", type=int, default=200)
    asked = parser.parse_args()
    for folder in asked.folders:
        compare(folder, asked.profile, asked.origins)


if __name__ == "__main__":
    main()
