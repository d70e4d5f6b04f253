"""A building's monthly heating and cooling from its description and its months' weather.

A degree-day estimate at the building's balance point is corrected by a small network, month by
month with the same weights. Heating never rises with better insulation, windows or tightness: the
loss coefficients enter it only through layers whose weights on them are positive (partially
monotone network; Runje and Shankaranarayana 2023, arXiv 2205.11775), and the balance-point estimate
``H max(0, base - gains / H - T)`` rises with ``H`` by itself.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contracts import FloatArray
from models.scenario import ScenarioSpec

GLASS = 0.378
"""Of the sun on a window, what g lets in: slanting rays, frame, shade."""

_HOURS = 8760 / 12
_MASS_KJ, _MASS_M2 = (80.0, 110.0, 165.0, 260.0, 370.0), (2.5, 2.5, 2.5, 3.0, 3.5)


class PositiveLinear(nn.Module):
    """A linear layer with positive weights, and no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(outputs, inputs) * 0.5 - 1.5)
        self.scale = inputs**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs]."""
        return functional.linear(x, functional.softplus(self.raw) * self.scale)


def _bent(x: Tensor) -> Tensor:
    """A rising activation, convex in half of its features and concave in the others."""
    up, down = x.chunk(2, dim=-1)
    return torch.cat([functional.elu(up), -functional.elu(-down)], dim=-1)


class MonthlyNeed(nn.Module):
    """Quantiles of what a building takes in each month and in the year, a m2 of floor.

    Args:
        spec: names of the inputs, which are found by name, and the quantiles.
        scalars: [S, F] training buildings, for scaling.
        fields: [S, 12, C] training climates.
        target: [S, 13, O] training answers.
        width: of the hidden layers.
    """

    def __init__(
        self,
        spec: ScenarioSpec,
        scalars: FloatArray,
        fields: FloatArray,
        target: FloatArray,
        width: int = 96,
    ) -> None:
        super().__init__()
        self.scalar = {one.name: i for i, one in enumerate(spec.scalars)}
        names = [one.name for one in spec.fields]
        self.field = {name: i for i, name in enumerate(names)}
        self.shortfall = {kind: _bases(names, f"{kind}_below_") for kind in ("hours", "days")}
        self.excess = {kind: _bases(names, f"{kind}_above_") for kind in ("hours", "days")}
        self.middle, self.levels = spec.median, len(spec.quantiles)
        outputs = len(spec.outputs)
        with torch.no_grad():
            b, c = torch.as_tensor(scalars[::7]), torch.as_tensor(fields[::7])
            losses, free = self._building(b)
            bare = self._free(free, c, self._gains(b, c))
            self._keep("free", bare.flatten(0, -2))
            self._keep("loss", torch.cat([losses.log(), losses.sum(-1, True).log()], -1))
        spreads = [target[:, :12].std(axis=(0, 1)), target[:, 12].std(axis=0)]
        self.register_buffer("spread", torch.tensor(np.stack(spreads)))
        self.spread: Tensor
        self.free_mean: Tensor
        self.free_std: Tensor
        self.loss_mean: Tensor
        self.loss_std: Tensor
        estimates, losses_in = 4, 4
        self.trunk = nn.Sequential(
            nn.Linear(bare.shape[-1], width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        hidden = 64
        self.rise_1 = PositiveLinear(estimates + losses_in, hidden)
        self.rise_2, self.rise_3 = PositiveLinear(hidden, hidden), PositiveLinear(hidden, 1)
        self.bend_1, self.bend_2 = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.bend_3 = nn.Linear(width, 1)
        self.share = nn.Parameter(torch.full((estimates,), -1.0))
        self.all = nn.Linear(width + estimates + losses_in + 4, width)
        self.rest = nn.Linear(width, width)
        self.heads = nn.Linear(width, outputs - 1)
        self.widths = nn.Linear(width, outputs * (self.levels - 1))
        self.year_widths = nn.Linear(width, outputs * (self.levels - 1))
        self.cooling_share = nn.Parameter(torch.full((4,), 0.1))

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(f"{name}_mean", values.mean(0))
        self.register_buffer(f"{name}_std", values.std(0) + 1e-6)

    def _building(self, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Loss coefficients [B, 3] in W/m2K, and what else tells of a building [B, K]."""
        v = {name: scalars[:, i] for name, i in self.scalar.items()}
        envelope = v["wall_ratio"] + v["roof_ratio"] + v["ground_ratio"] + v["window_ratio"]
        walls = v["wall_ratio"] * v["wall_w_m2k"] + v["roof_ratio"] * v["roof_w_m2k"]
        opaque = walls + v["ground_ratio"] * v["ground_w_m2k"]
        losses = [
            opaque + envelope * v["bridge_w_m2k"],
            v["window_ratio"] * v["window_w_m2k"],
            0.34 * v["air_change_h"] * v["height_m"],
        ]
        glass = GLASS * v["window_ratio"] * v["window_g"]
        mass = torch.full_like(glass, _MASS_M2[0])
        steps = zip(pairwise(_MASS_KJ), pairwise(_MASS_M2), strict=True)
        for (low, high), (first, last) in steps:
            slope = (last - first) / (high - low)
            mass = mass + (v["mass_kj_m2k"] - low).clamp(0.0, high - low) * slope
        off = 24 - v["on_hours"]
        free = [
            glass,
            v["glass_north_south"],
            v["mass_kj_m2k"].log(),
            mass,
            v["heating_c"],
            v["setback_k"],
            v["setback_k"] * off / 24,
            v["on_from_h"],
            v["on_hours"],
            v["on_from_h"] + v["on_hours"],
            v["internal_w_m2"],
            v["cooled"],
            v["cooling_c"],
            v["heating_w_m2"].log(),
        ]
        return torch.stack(losses, dim=-1).clamp_min(1e-3), torch.stack(free, dim=-1)

    def _gains(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Gains of a month's mean hour [B, 12, 2] in W/m2: of its heated days, of all."""
        v = {name: scalars[:, i, None] for name, i in self.scalar.items()}
        glass, share = GLASS * v["window_ratio"] * v["window_g"], v["glass_north_south"]
        found = []
        for part in ("heated", "all"):
            sun = {w: fields[..., self.field[f"{part}_{w}_w_m2"]] for w in _WALLS}
            ns, ew = (sun["north"] + sun["south"]) / 2, (sun["east"] + sun["west"]) / 2
            found.append(glass * (share * ns + (1 - share) * ew) + v["internal_w_m2"])
        return torch.stack(found, dim=-1)

    def _free(self, building: Tensor, fields: Tensor, gains: Tensor) -> Tensor:
        """Everything but the loss coefficients, [B, 12, K]."""
        every = building[:, None].expand(-1, fields.shape[1], -1)
        return torch.cat([every, fields, gains], dim=-1)

    def _estimates(
        self, scalars: Tensor, fields: Tensor, losses: Tensor, gains: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Balance-point estimates of heating and cooling, [B, 12, 4] each, kWh/m2."""
        v = {name: scalars[:, i, None] for name, i in self.scalar.items()}
        loss = losses.sum(-1)[:, None]
        lowered = v["heating_c"] - v["setback_k"] * (1 - v["on_hours"] / 24)
        warm, cool = [], []
        for held, limit in ((v["heating_c"], v["cooling_c"]), (lowered, v["cooling_c"] - 2)):
            base = held - gains[..., 0] / loss
            top = limit - gains[..., 1] / loss
            for kind in ("hours", "days"):
                warm.append(loss * _interpolated(base, fields, *self.shortfall[kind], 1))
                cool.append(loss * _interpolated(top, fields, *self.excess[kind], -1))
        share = fields[..., self.field["heated_share"]]
        kwh = _HOURS / 1000
        return torch.stack(warm, -1) * share[..., None] * kwh, torch.stack(cool, -1) * kwh

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Quantiles [B, 13, O, Q] of buildings [B, F] in climates [B, 12, C]."""
        losses, building = self._building(scalars)
        gains = self._gains(scalars, fields)
        warm, cool = self._estimates(scalars, fields, losses, gains)
        free = (self._free(building, fields, gains) - self.free_mean) / self.free_std
        logs = torch.cat([losses.log(), losses.sum(-1, True).log()], dim=-1)
        logs = ((logs - self.loss_mean) / self.loss_std)[:, None].expand(-1, fields.shape[1], -1)
        state = self.trunk(free)
        rising = torch.cat([logs, (warm + 0.1).log()], dim=-1)
        x = _bent(self.rise_1(rising) + self.bend_1(state))
        x = _bent(self.rise_2(x) + self.bend_2(state))
        x = self.rise_3(x) + self.bend_3(state)
        raw = (warm * functional.softplus(self.share)).sum(-1) + self.spread[0, 0] * x[..., 0]
        share = fields[..., self.field["heated_share"]]
        heating = functional.softplus(raw * 4) / 4 * (share > 0)
        both = torch.cat([state, rising, (cool + 0.1).log()], dim=-1)
        hidden = functional.silu(self.all(both))
        hidden = hidden + functional.silu(self.rest(hidden))
        cooling, pump, cold, peak = self.heads(hidden).unbind(-1)
        estimate = (cool * self.cooling_share).sum(-1)
        cooled = scalars[:, None, self.scalar["cooled"]]
        cooling = functional.softplus((estimate + self.spread[0, 1] * cooling) * 4) / 4 * cooled
        pump = heating * (1 / 6 + 5 / 6 * torch.sigmoid(pump))
        cold = torch.sigmoid(cold) * share * _HOURS
        peak = torch.sigmoid(peak) * scalars[:, None, self.scalar["heating_w_m2"]] * (share > 0)
        monthly = torch.stack([heating, cooling, pump, cold, peak], dim=-1)
        year = torch.cat([monthly[..., :-1].sum(1), monthly[..., -1:].amax(1)], dim=-1)
        centre = torch.cat([monthly, year[:, None]], dim=1)
        steps = self.widths(hidden), self.year_widths(hidden.mean(1, keepdim=True))
        sizes = [functional.softplus(s.unflatten(-1, (-1, self.levels - 1)) - 3) for s in steps]
        sizes = torch.cat([size * self.spread[i, :, None] for i, size in enumerate(sizes)], dim=1)
        return _fanned(centre, sizes, self.middle)


_WALLS = ("north", "east", "south", "west")


def _bases(names: list[str], start: str) -> tuple[list[float], list[int]]:
    """Temperatures for which a field gives the mean shortfall (or excess), and its columns."""
    known = [(name, i) for i, name in enumerate(names) if name.startswith(start)]
    found = [(float(name.removeprefix(start).removesuffix("_k")), i) for name, i in known]
    bases, columns = zip(*sorted(found), strict=True)
    return list(bases), list(columns)


def _interpolated(
    base: Tensor, fields: Tensor, bases: list[float], columns: list[int], sign: int
) -> Tensor:
    """Mean shortfall below ``base`` [B, 12] (``sign`` 1), or excess above it (-1), between bases.

    It rises with ``sign * base`` everywhere, with slope 1 beyond the last base.
    """
    order = range(len(bases)) if sign > 0 else range(len(bases) - 1, -1, -1)
    known = [(sign * bases[k], fields[..., columns[k]]) for k in order]
    at = sign * base
    (first, least), (second, following) = known[:2]
    slope = (following - least) / (second - first)
    value = (least + (at - first).clamp(max=0.0) * slope).clamp_min(0.0)
    for (low, below), (high, above) in pairwise(known):
        slope = ((above - below) / (high - low)).clamp_min(0.0)
        value = value + slope * (at - low).clamp(0.0, high - low)
    return value + (at - known[-1][0]).clamp_min(0.0)


def _fanned(centre: Tensor, sizes: Tensor, middle: int) -> Tensor:
    """Rising quantiles [..., Q] from medians [...] and steps [..., Q - 1] outwards from them."""
    up = centre[..., None] + sizes[..., middle:].cumsum(-1)
    down = centre[..., None] - sizes[..., :middle].flip(-1).cumsum(-1).flip(-1)
    return torch.cat([down, centre[..., None], up], dim=-1)
