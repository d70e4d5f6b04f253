"""A building's yearly heating and cooling from its description and its months' weather.

Balance-point estimates ``H max(0, base - gains / H - T)`` of each month, for several bases, are
mixed and corrected by a small network with the same weights in all months, and added up. Heating
never rises with better insulation, windows or tightness: loss coefficients enter it only through
estimates that rise with ``H`` by themselves, whose weights are positive, and through layers whose
weights on them are positive (a partially monotone network; Runje and Shankaranarayana 2023, arXiv
2205.11775).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contracts import FloatArray
from models.scenario import ScenarioSpec

GLASS = 0.378
"""Of the sun on a window, what g lets in: slanting rays, frame, shade."""

_HOURS = 8760 / 12
_MASS_KJ, _MASS_M2 = (80.0, 110.0, 165.0, 260.0, 370.0), (2.5, 2.5, 2.5, 3.0, 3.5)
_WALLS = ("north", "east", "south", "west")
_KINDS = ("hours", "days")
_USED, _LOWER, _UPPER = (0.7, 1.0), (0.0, 4.0), (-2.0, 1.0)
"""Shares of the gains that are of use; K below the heating and about the cooling set-point."""
_ESTIMATES = len(_KINDS) * len(_USED) * len(_LOWER)
_LOSSES = 4
_LEAST_KWH = 0.1


class PositiveLinear(nn.Module):
    """A linear layer with positive weights, and no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(outputs, inputs) * 0.5 - 1.5)
        self.scale = inputs**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs]."""
        return functional.linear(x, functional.softplus(self.raw) * self.scale)


class BalancePoint(nn.Module):
    """Quantiles of what a building takes in a year, a m2 of floor.

    Outputs are, in this order: heating, cooling and a heat pump's electricity (kWh/m2), hours that
    are too cold, and the largest heating power (W/m2).

    Args:
        spec: names of the inputs, which are found by name, and the quantiles.
        scalars: [S, F] training buildings, for scaling.
        fields: [S, 12, C] training climates.
        target: [S, 1, O] training answers.
        width: of the hidden layers.
    """

    def __init__(
        self,
        spec: ScenarioSpec,
        scalars: FloatArray,
        fields: FloatArray,
        target: FloatArray,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.scalar = {one.name: i for i, one in enumerate(spec.scalars)}
        names = [one.name for one in spec.fields]
        self.field = {name: i for i, name in enumerate(names)}
        self.shortfall = {kind: _bases(names, f"{kind}_below_") for kind in _KINDS}
        self.excess = {kind: _bases(names, f"{kind}_above_") for kind in _KINDS}
        tables = (*self.shortfall.values(), *self.excess.values())
        estimated = {i for _, columns in tables for i in columns}
        self.weather = [i for i in range(len(names)) if i not in estimated]
        self.middle, self.levels = spec.median, len(spec.quantiles)
        for name, values in {"used": _USED, "lower": _LOWER, "upper": _UPPER}.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.register_buffer("spread", torch.tensor(target[:, 0].std(axis=0)))
        self.used: Tensor
        self.lower: Tensor
        self.upper: Tensor
        self.spread: Tensor
        self.building_mean: Tensor
        self.building_std: Tensor
        self.free_mean: Tensor
        self.free_std: Tensor
        self.rising_mean: Tensor
        self.rising_std: Tensor
        with torch.no_grad():
            b, c = torch.as_tensor(scalars[::7]), torch.as_tensor(fields[::7])
            losses, building = self._building(b)
            gains = self._gains(b, c)
            free = self._free(c, gains)
            rising = _logs(losses, *self._estimates(b, c, losses, gains))
            for name, values in {"building": building, "free": free, "rising": rising}.items():
                values = values.flatten(0, -2)
                self.register_buffer(f"{name}_mean", values.mean(0))
                self.register_buffer(f"{name}_std", values.std(0) + 1e-6)
        hidden, outputs = width // 2, len(spec.outputs)
        self.of_building = nn.Linear(building.shape[-1], width)
        self.of_month = nn.Linear(free.shape[-1], width)
        self.state = nn.Linear(width, width)
        self.rise_1 = PositiveLinear(_ESTIMATES + _LOSSES, hidden)
        self.rise_2 = PositiveLinear(hidden, hidden)
        self.bend_1, self.bend_2 = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.gate_2, self.gate_3 = nn.Linear(width, hidden), nn.Linear(width, hidden)
        nn.init.constant_(self.gate_3.bias, -3.0)
        self.bend_3, self.mix = nn.Linear(width, 1), nn.Linear(width, _ESTIMATES)
        self.rest = nn.Linear(width + 2 * _ESTIMATES + _LOSSES, width)
        self.heads = nn.Linear(width, outputs - 1)
        self.cooling_mix = nn.Linear(width, _ESTIMATES)
        self.widths = nn.Linear(width, outputs * (self.levels - 1))
        for layer in (self.mix, self.cooling_mix):  # begins as the estimates' mean
            nn.init.constant_(layer.bias, math.log(math.expm1(1 / _ESTIMATES)))

    def _building(self, scalars: Tensor) -> tuple[Tensor, Tensor]:
        """Loss coefficients [B, 3] in W/m2K, and what else tells of a building [B, K]."""
        v = {name: scalars[:, i] for name, i in self.scalar.items()}
        envelope = v["wall_ratio"] + v["roof_ratio"] + v["ground_ratio"] + v["window_ratio"]
        walls = v["wall_ratio"] * v["wall_w_m2k"] + v["roof_ratio"] * v["roof_w_m2k"]
        losses = [
            walls + v["ground_ratio"] * v["ground_w_m2k"] + envelope * v["bridge_w_m2k"],
            v["window_ratio"] * v["window_w_m2k"],
            0.34 * v["air_change_h"] * v["height_m"],
        ]
        glass = GLASS * v["window_ratio"] * v["window_g"]
        mass = torch.full_like(glass, _MASS_M2[0])
        steps = zip(pairwise(_MASS_KJ), pairwise(_MASS_M2), strict=True)
        for (low, high), (first, last) in steps:
            slope = (last - first) / (high - low)
            mass = mass + (v["mass_kj_m2k"] - low).clamp(0.0, high - low) * slope
        free = [
            glass,
            v["glass_north_south"],
            v["mass_kj_m2k"].log(),
            mass,
            v["heating_c"],
            v["setback_k"],
            v["setback_k"] * (24 - v["on_hours"]) / 24,
            v["on_from_h"],
            v["on_hours"],
            v["on_from_h"] + v["on_hours"],
            v["internal_w_m2"],
            v["cooled"],
            v["cooling_c"],
            v["heating_w_m2"].log(),
            (v["heating_c"] - 18).tanh(),
            (v["heating_c"] - v["setback_k"] - 18).tanh(),
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

    def _free(self, fields: Tensor, gains: Tensor) -> Tensor:
        """What tells of a month but in the estimates, [B, 12, K]."""
        return torch.cat([fields[..., self.weather], gains], dim=-1)

    def _estimates(
        self, scalars: Tensor, fields: Tensor, losses: Tensor, gains: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Balance-point estimates of heating and cooling, [B, 12, K] each, kWh/m2.

        One for each of some set-points about the building's own, of some shares of the gains that
        are of use, and of hours and daily means; none is more than the plant can deliver.
        """
        v = {name: scalars[:, i, None, None] for name, i in self.scalar.items()}
        loss = losses.sum(-1)[:, None, None]
        used = gains[..., None] * self.used / loss[..., None]
        base = (v["heating_c"] - self.lower)[..., None, :] - used[:, :, 0, :, None]
        top = (v["cooling_c"] + self.upper)[..., None, :] - used[:, :, 1, :, None]
        warm = [_interpolated(base, fields, *self.shortfall[kind]) for kind in _KINDS]
        cool = [_interpolated(top, fields, *self.excess[kind]) for kind in _KINDS]
        hours = fields[..., self.field["heated_share"], None] * (_HOURS / 1000)
        most = v["heating_w_m2"] * hours
        return (
            torch.minimum(loss * torch.cat(warm, dim=-1) * hours, most),
            loss * torch.cat(cool, dim=-1) * (_HOURS / 1000),
        )

    def _heating(self, state: Tensor, rising: Tensor, warm: Tensor) -> Tensor:
        """Heating [B, 12] in kWh/m2: rises with every loss coefficient."""
        x = _bent(self.rise_1(rising) + self.bend_1(state))
        x = _bent(self.rise_2(x) * functional.softplus(self.gate_2(state)) + self.bend_2(state))
        x = (x * functional.softplus(self.gate_3(state))).sum(-1) + self.bend_3(state)[..., 0]
        mixed = (warm * functional.softplus(self.mix(state))).sum(-1)
        return _positive(mixed + self.spread[0] * x / 6)

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Quantiles [B, 1, O, Q] of buildings [B, F] in climates [B, 12, C]."""
        losses, building = self._building(scalars)
        gains = self._gains(scalars, fields)
        warm, cool = self._estimates(scalars, fields, losses, gains)
        share = fields[..., self.field["heated_share"]]
        of_building = self.of_building((building - self.building_mean) / self.building_std)
        of_month = self.of_month((self._free(fields, gains) - self.free_mean) / self.free_std)
        state = functional.silu(of_building[:, None] + of_month)
        state = functional.silu(self.state(state))
        logs = (_logs(losses, warm, cool) - self.rising_mean) / self.rising_std
        heating = self._heating(state, logs[..., : _LOSSES + _ESTIMATES], warm) * (share > 0)
        hidden = functional.silu(self.rest(torch.cat([state, logs], dim=-1)))
        cooling, pump, cold, peak = self.heads(hidden).unbind(-1)
        mixed = (cool * functional.softplus(self.cooling_mix(hidden))).sum(-1)
        cooling = _positive(mixed + self.spread[1] * cooling / 6).sum(1)
        outputs = [
            heating.sum(1),
            cooling * scalars[:, self.scalar["cooled"]],
            (heating * (1 / 6 + 5 / 6 * torch.sigmoid(pump))).sum(1),
            (torch.sigmoid(cold) * share).sum(1) * _HOURS,
            (torch.sigmoid(peak) * (share > 0)).amax(1) * scalars[:, self.scalar["heating_w_m2"]],
        ]
        centre = torch.stack(outputs, dim=-1)
        sizes = self.widths(hidden.mean(1)).unflatten(-1, (-1, self.levels - 1))
        sizes = functional.softplus(sizes - 3) * self.spread[:, None]
        return _fanned(centre, sizes, self.middle)[:, None]


def _bent(x: Tensor) -> Tensor:
    """A rising activation, convex in half of its features and concave in the others."""
    up, down = x.chunk(2, dim=-1)
    return torch.cat([functional.elu(up), -functional.elu(-down)], dim=-1)


def _logs(losses: Tensor, warm: Tensor, cool: Tensor) -> Tensor:
    """Logarithms of the loss coefficients, their sum, and the estimates, [B, 12, 4 + 2 K]."""
    rates = torch.cat([losses, losses.sum(-1, True)], dim=-1).log()
    rates = rates[:, None].expand(-1, warm.shape[1], -1)
    return torch.cat([rates, (torch.cat([warm, cool], dim=-1) + _LEAST_KWH).log()], dim=-1)


def _positive(x: Tensor) -> Tensor:
    """A rising function to positive numbers, nearly the identity from 1 kWh/m2 on."""
    return functional.softplus(x * 4) / 4


def _bases(names: list[str], start: str) -> tuple[Tensor, list[int]]:
    """Temperatures for which a field gives the mean shortfall (or excess), and its columns."""
    known = [(name, i) for i, name in enumerate(names) if name.startswith(start)]
    found = [(float(name.removeprefix(start).removesuffix("_k")), i) for name, i in known]
    bases, columns = zip(*sorted(found), strict=True)
    return torch.tensor(bases), list(columns)


def _interpolated(base: Tensor, fields: Tensor, bases: Tensor, columns: list[int]) -> Tensor:
    """Mean shortfall below (or excess above) ``base`` [B, 12, J, K], linear between ``bases``.

    Beyond them the last slope goes on. It is monotone in ``base``, as the table is.

    Returns:
        [B, 12, J * K].
    """
    table = fields[..., columns]
    low, step = float(bases[0]), float(bases[1] - bases[0])
    place = (base.flatten(2) - low) / step
    left = place.floor().clamp(0.0, len(columns) - 2.0)
    index = left.long()
    first, second = table.gather(2, index), table.gather(2, index + 1)
    return (first + (second - first) * (place - left)).clamp_min(0.0)


def _fanned(centre: Tensor, sizes: Tensor, middle: int) -> Tensor:
    """Rising quantiles [..., Q] from medians [...] and steps [..., Q - 1] outwards from them."""
    up = centre[..., None] + sizes[..., middle:].cumsum(-1)
    down = centre[..., None] - sizes[..., :middle].flip(-1).cumsum(-1).flip(-1)
    return torch.cat([down, centre[..., None], up], dim=-1)
