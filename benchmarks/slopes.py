"""Cells a second of a storm's slopes, and the picture of what happens at depth.

    python -m benchmarks.slopes [--cells 1000000] [--device cpu] [--plot docs/slopes/storm.png]

Heads and factors of safety of a made-up hillside, 48 hours of rain looked at each hour.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import fields
from pathlib import Path
from unittest.mock import patch

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from models.physics.drainage import Drainage, drain, surface_slope_rad
from models.physics.pore_pressure import Storm, transient_head
from models.physics.slope_response import slope_response
from models.physics.slope_stability import factor_of_safety
from models.physics.soil import Soil

HOURS = 48
ROUNDS = 2
"""The better one counts: the first finds memory and code anew."""


def soil_of(dtype: torch.dtype, device: str = "cpu") -> Soil:
    """A silty mantle of one kind."""
    values = (4000.0, math.radians(32), 19000.0, 2.0, 3e-6, 2e-5)
    return Soil(*(torch.tensor(v, dtype=dtype, device=device) for v in values))


def hillside(side: int) -> Tensor:
    """Hollows and spurs on an incline of 24 degrees."""
    wave = torch.linspace(0, side / 8, side, dtype=torch.float64)
    noise = torch.rand(side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spurs = 15 * wave.sin() * (wave[:, None] / 3).cos()
    return spurs + noise - 4.5 * torch.arange(side, dtype=torch.float64)[:, None]


def speed(cells: int, device: str) -> None:
    """Print what a storm over a square terrain takes, drainage apart."""
    bed = hillside(math.isqrt(cells))
    began = time.perf_counter()
    drained = drain(bed, 10.0)
    surface_slope_rad(bed, 10.0)
    ground_s = time.perf_counter() - began
    print(f"{bed.numel()} cells: drainage and slope {ground_s:.1f} s", flush=True)
    times = torch.arange(HOURS, dtype=torch.float64, device=device) * 3600
    rain = 6 / 3.6e6 * torch.rand(HOURS, generator=torch.Generator().manual_seed(1))
    for dtype in (torch.float64, torch.float32):
        here = bed.to(device, dtype)
        known = Drainage(*(getattr(drained, field.name).to(here) for field in fields(drained)))
        for fractions in ((1.0,), (0.25, 0.5, 0.75, 1.0)):
            spent, failed = [], 0.0
            for _ in range(ROUNDS):
                began = time.perf_counter()
                with patch("models.physics.slope_response.drain", return_value=known):
                    found = slope_response(
                        here,
                        10.0,
                        soil_of(dtype, device),
                        times,
                        rain.to(device, dtype),
                        antecedent_m_s=2e-9,
                        times_s=times + 3600,
                        fractions=fractions,
                    )
                failed = (found.factor_of_safety < 1).double().mean().item()
                spent.append(time.perf_counter() - began)
            took = min(spent)
            print(
                f"{HOURS} h, {len(fractions)} depths, {dtype}, {device}: {took:.3g} s,"
                f" {bed.numel() / took:.3g} cells/s, {failed:.1%} fail",
                flush=True,
            )


def draw(path: Path) -> None:
    """Rain, heads and factors of safety at four depths of one slope of 30 degrees."""
    rain_mm_h = torch.full((73,), 0.0, dtype=torch.float64)
    rain_mm_h[6:9], rain_mm_h[20:40] = 15.0, 5.0
    storm = Storm(torch.arange(73, dtype=torch.float64) * 3600, rain_mm_h / 3.6e6)
    times = torch.arange(0, 120 * 6 + 1, dtype=torch.float64) * 600
    slope, soil = torch.tensor(math.radians(30)).double(), soil_of(torch.float64)
    table = torch.tensor(1.1).double()
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(8, 7.5), sharex=True, height_ratios=(1, 2, 2)
    )
    top.stairs(rain_mm_h[:-1], torch.arange(73), fill=True, color="#8fb8cf")
    top.set_ylabel("rain (mm/h)")
    for depth_m, colour in ((0.5, "#edae49"), (1.0, "#d1495b"), (1.5, "#66a182"), (2.0, "#1b3a4b")):
        depth = torch.tensor(depth_m).double()
        for sealed, line in ((False, "-"), (True, ":")):
            heads = transient_head(slope, soil, depth, table, storm, times, sealed)
            factors = factor_of_safety(slope, soil, heads, depth)
            ground = "sealed at 2 m" if sealed else "open below"
            label = f"{depth_m:g} m, {ground}"
            middle.plot(times / 3600, heads, line, color=colour, label=label)
            bottom.plot(times / 3600, factors, line, color=colour)
    middle.set_ylabel("pressure head (m)")
    handles, labels = middle.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=4, fontsize=8, loc="lower center")
    bottom.axhline(1, color="#8a8a8a", lw=1)
    bottom.set_ylim(0.8, 2.2)
    bottom.set_ylabel("factor of safety")
    bottom.set_xlabel("hours")
    bottom.set_xlim(0, 120)
    for axes in (top, middle, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Measure, or draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.plot:
        draw(options.plot)
    else:
        speed(options.cells, options.device)


if __name__ == "__main__":
    main()
