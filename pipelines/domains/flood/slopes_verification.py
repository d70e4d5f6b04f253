"""What the slope simulator must reproduce: closed forms, published tables, and other methods."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.physics.drainage import drain, surface_slope_rad
from models.physics.pore_pressure import Storm, ierfc, iverson_response, transient_head
from models.physics.pore_pressure import steady_wetness as wetness_of
from models.physics.rain_thresholds import CAINE_1980, GUZZETTI_2008, exceedance
from models.physics.slope_stability import (
    critical_head,
    critical_rain_m_s,
    factor_of_safety,
    failure_probability,
    sampled_probability,
)
from models.physics.soil import WATER_N_M3, Scatter, Soil
from pipelines.domains.flood.head_diffusion import STEP_S, numerical_heads
from pipelines.domains.registry import Check

IERFC = {0.0: 0.5642, 0.5: 0.1996, 1.0: 0.0503}
"""Carslaw and Jaeger (1959), Conduction of Heat in Solids, appendix II, to four decimals."""


def _soil(**changes: float) -> Soil:
    """A silty mantle of 2 m, with changes."""
    values = {
        "cohesion_pa": 4000.0,
        "friction_rad": math.radians(32),
        "unit_weight_n_m3": 19000.0,
        "depth_m": 2.0,
        "conductivity_m_s": 1e-5,
        "diffusivity_m2_s": 5e-5,
    }
    return Soil(**{name: _number(value) for name, value in (values | changes).items()})


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _exact(case: str, quantity: str, value: float, expected: float, share: float = 1e-9) -> Check:
    slack = share * max(abs(expected), 1e-12)
    return Check("flood", f"slope {case}", quantity, value, expected - slack, expected + slack)


def _most(case: str, quantity: str, value: float, most: float) -> Check:
    return Check("flood", f"slope {case}", quantity, value, 0.0, most)


def verify_slopes() -> list[Check]:
    """Factor of safety, steady and transient pressure, probability, thresholds and drainage."""
    return [
        *_closed_forms(),
        *_steady(),
        *_transient(),
        *_probability(),
        *_thresholds(),
        *_drainage(),
    ]


def _closed_forms() -> list[Check]:
    """Slopes that are worked out by hand, as in Lambe and Whitman (1969), Soil Mechanics."""
    checks = []
    for degrees in (15.0, 30.0, 40.0):
        slope = _number(math.radians(degrees))
        sand, firm = _soil(cohesion_pa=0.0), _soil()
        ratio = math.tan(math.radians(32)) / math.tan(math.radians(degrees))
        found = factor_of_safety(slope, sand, _number(0.0)).item()
        checks.append(_exact(f"dry sand at {degrees:.0f} deg", "factor_of_safety", found, ratio))
        angle = math.radians(degrees)
        held = 4000 / (19000 * 2 * math.sin(angle) * math.cos(angle))
        found = factor_of_safety(slope, firm, 2 * slope.cos() ** 2).item()
        wet = (19000 - WATER_N_M3) / 19000 * ratio + held
        checks.append(_exact(f"full at {degrees:.0f} deg", "factor_of_safety", found, wet))
        firm = _soil(cohesion_pa=9000.0)
        found = factor_of_safety(slope, firm, critical_head(slope, firm)).item()
        checks.append(_exact(f"critical head at {degrees:.0f} deg", "factor_of_safety", found, 1.0))
    return checks


def _steady() -> list[Check]:
    """SHALSTAB's rain for failure (Montgomery and Dietrich 1994), and the wetness it brings."""
    checks = []
    slope, reach = _number(math.radians(38)), _number(150.0)
    for cohesion in (0.0, 2000.0, 4000.0):
        # With no cohesion, q = T sin(slope) b / a * gamma / gamma_w (1 - tan(slope) / tan(phi)).
        soil = _soil(cohesion_pa=cohesion, friction_rad=math.radians(42))
        flow = 1e-5 * 2 * math.cos(slope.item()) * math.sin(slope.item())
        relief = 1 - math.tan(slope.item()) / math.tan(math.radians(42))
        held = cohesion / (WATER_N_M3 * 2 * math.cos(slope.item()) ** 2)
        wetness = 19000 / WATER_N_M3 * relief + held / math.tan(math.radians(42))
        rain = critical_rain_m_s(slope, soil, reach)
        case = f"SHALSTAB, {cohesion:.0f} Pa"
        expected = wetness * flow / 150
        checks.append(_exact(case, "critical_rain_mm_d", rain.item() * 864e5, expected * 864e5))
        reached = wetness_of(rain, reach, slope, soil)
        checks.append(_exact(case, "critical_wetness", reached.item(), wetness))
        factor = factor_of_safety(slope, soil, reached * soil.depth_m * slope.cos() ** 2)
        checks.append(_exact(case, "factor_at_critical_rain", factor.item(), 1.0))
    return checks


def _storm(hours: int, seed: int) -> np.ndarray:
    """A storm by the hour, m/s, some of it beyond the conductivity, some dry."""
    chance = np.random.default_rng(seed)
    return np.where(chance.random(hours) < 0.6, chance.exponential(8e-6, hours), 0.0)


def _transient() -> list[Check]:
    checks = [
        _most(f"ierfc({x:g}) of a table", "absolute_error", abs(ierfc(_number(x)) - y).item(), 5e-5)
        for x, y in IERFC.items()
    ]
    # R(t*) = sqrt(t*) ierfc(1 / sqrt(t*)): the table again, now by Iverson's own form.
    for time, entry in ((1.0, 0.0503), (4.0, 2 * 0.1996)):
        written = math.sqrt(time / math.pi) * math.exp(-1 / time) - math.erfc(time**-0.5)
        found = iverson_response(_number(time)).item()
        checks.append(_exact(f"R({time:g}), Iverson 2000", "head_by_depth", found, written))
        checks.append(_most(f"R({time:g}) of a table", "absolute_error", abs(found - entry), 1e-4))
    slope, soil = _number(math.radians(30)), _soil()
    spread = 5e-5 * math.cos(math.radians(30)) ** 2
    steps = round(3600 / STEP_S)
    for name, rain in (
        ("lasting rain", np.full(48, 4e-6)),
        ("stormy series", _storm(48, seed=3)),
    ):
        storm = Storm(torch.arange(48, dtype=torch.float64) * 3600, torch.from_numpy(rain))
        times = torch.arange(1, 49, dtype=torch.float64) * 3600
        flux = np.repeat(np.minimum(rain / 1e-5, 1), steps)
        for sealed, thickness in ((False, 20.0), (True, 2.0)):
            for depth in (0.5, 2.0 if sealed else 1.5):
                table = _number(50.0)  # deep, so that the cap of a full slope is never met
                heads = transient_head(slope, soil, _number(depth), table, storm, times, sealed)
                risen = heads.numpy() - (depth - 50) * math.cos(math.radians(30)) ** 2
                # A layer's middle is half a layer off the base; the head is level there.
                other = numerical_heads(spread, flux, thickness, min(depth, thickness))
                error = np.abs(risen - other[steps - 1 :: steps]).max() / np.abs(risen).max()
                ground = "sealed" if sealed else "endless"
                case = f"{name}, {ground} ground, {depth:g} m"
                checks.append(_most(case, "error_by_finite_differences", float(error), 1e-4))
    return [*checks, *_limits(slope, soil)]


def _limits(slope: Tensor, soil: Soil) -> list[Check]:
    """Long rain fills the slope, and long after rain it is as before."""
    long = 3e11
    full = (2 * slope.cos() ** 2).item()
    rest, table = _number(0.0), _number(1.2)
    storm = Storm(torch.stack([rest, _number(3600.0)]), torch.tensor([1e-5, 0.0]).double())
    after = transient_head(slope, soil, soil.depth_m, table, storm, _number(long)[None])
    lasting = Storm(rest[None], _number(1e-5)[None])
    during = transient_head(slope, soil, soil.depth_m, table, lasting, _number(long)[None])
    factor = factor_of_safety(slope, soil, during[0]).item()
    wet = factor_of_safety(slope, soil, _number(full)).item()
    before = (0.8 * slope.cos() ** 2).item()
    return [
        _exact("long after rain", "head_m", after.item(), before, 1e-4),
        _exact("rain without end", "head_m", during.item(), full),
        _exact("rain without end", "factor_of_safety", factor, wet),
    ]


def _probability() -> list[Check]:
    """The closed form beside 200 000 drawn strengths: five deviations of the sample at most."""
    checks = []
    count, soil = 200_000, _soil()
    for degrees, correlation in ((28.0, 0.0), (34.0, -0.5), (38.0, 0.3)):
        slope = _number(math.radians(degrees))
        scatter = Scatter(1000.0, 0.08, correlation)
        head = 1.2 * slope.cos() ** 2
        closed = failure_probability(slope, soil, scatter, head).item()

        def draw(chance: torch.Generator, scatter: Scatter = scatter) -> Soil:
            one, two = torch.randn(2, count, generator=chance, dtype=torch.float64)
            rest = math.sqrt(1 - scatter.correlation**2)
            tangent = math.tan(math.radians(32)) + scatter.friction_tan * two
            cohesion = 4000 + scatter.cohesion_pa * (scatter.correlation * two + rest * one)
            # Four deviations above zero, so that what is cut off is too rare to be seen.
            return replace(soil, cohesion_pa=cohesion.clamp_min(0), friction_rad=tangent.atan())

        def factor(drawn: Soil, slope: Tensor = slope, head: Tensor = head) -> Tensor:
            return factor_of_safety(slope, drawn, head)

        sampled = sampled_probability(draw, factor, samples=1, seed=7).mean().item()
        deviation = math.sqrt(closed * (1 - closed) / count)
        checks.append(
            Check(
                "flood",
                f"slope strength drawn at {degrees:.0f} deg, correlation {correlation:g}",
                "probability_in_closed_form",
                closed,
                sampled - 5 * deviation,
                sampled + 5 * deviation,
            )
        )
    return checks


def _thresholds() -> list[Check]:
    checks = []
    for threshold, scale, exponent in ((CAINE_1980, 14.82, 0.39), (GUZZETTI_2008, 2.20, 0.44)):
        rain = torch.zeros(96, dtype=torch.float64)
        rain[30:54] = 3 * scale * 24.0**-exponent
        found = exceedance(rain, 1.0, threshold)
        ratio = found.ratio[30].item()
        checks.append(_exact(f"{threshold.name}, 24 h", "by_threshold", ratio, 3.0))
        checks.append(
            _exact(f"{threshold.name}, 24 h", "duration_h", found.duration_h[30].item(), 24.0)
        )
    return checks


def _drainage() -> list[Check]:
    row = torch.arange(61, dtype=torch.float64)[:, None].expand(-1, 61)
    plane = 100 - 0.3 * 10 * row
    slope, drained = surface_slope_rad(plane, 10.0), drain(plane, 10.0)
    far = (drained.per_contour_m - 10 * (row + 1)).abs().max().item()
    rough = torch.rand(61, 61, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left = drain(rough, 10.0).left_m2.sum().item()
    side = torch.arange(201, dtype=torch.float64) - 100
    way = torch.hypot(side[:, None], side)
    ring = (way > 20) & (way < 95)
    cone = (drain(-way, 1.0).per_contour_m / (way / 2))[ring].mean().item()
    return [
        _exact("inclined plane", "largest_slope", slope.tan().max().item(), 0.3),
        _exact("inclined plane", "least_slope", slope.tan().min().item(), 0.3),
        _most("inclined plane", "area_by_contour_error_m", far, 1e-9),
        _exact("rough terrain with hollows", "area_that_leaves_m2", left, 61 * 61 * 100.0),
        Check("flood", "slope cone", "area_by_contour_by_exact", cone, 0.95, 1.05),
    ]
