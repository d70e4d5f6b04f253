"""A building's yearly heating and cooling from its description and its months' weather.

Balance-point estimates ``H max(0, base - gains / H - T)`` of each month are mixed and corrected by
a small network with the same weights in all months, and added up. Losses and gains are those of the
5R1C at a steady set-point, in closed form, so that little is left to learn. Heating never rises
with better insulation, windows or tightness: loss coefficients enter it only through estimates
that rise with them by themselves, whose weights are positive, and through layers whose weights on
them are positive (a partially monotone network; Runje and Shankaranarayana 2023, arXiv 2205.11775).

Inside, buildings come last ([features, 12, B]): ONNX Runtime is slow where a short last dimension
is broadcast. All buildings may share one climate, [1, 12, C]: what it alone decides is then
computed once.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contracts import FloatArray
from models.scenario import ScenarioSpec
from models.surrogates.degree_days import MONTHS, Excess, Shortfall

GLASS = 0.378
"""Of the sun on a window, what g lets in: slanting rays, frame, shade."""

_HOURS = 8760 / MONTHS
_MASS_KJ, _MASS_M2 = (80.0, 110.0, 165.0, 260.0, 370.0), (2.5, 2.5, 2.5, 3.0, 3.5)
_WALLS = ("north", "east", "south", "west")
_BELOW, _ABOVE = ("hours", "days"), ("hours", "halves", "pairs", "spells")
_USED, _LOWER, _UPPER = (0.7, 1.0), (0.0, 4.0), (0.0, -2.0)
"""Shares of the gains that are of use to heating; K below the heating and above the cooling
set-point."""
_WARM, _COOL = len(_BELOW) * len(_USED) * len(_LOWER), len(_ABOVE) * len(_UPPER)
_RATES = 4
_LEAST_KWH = 0.1
_FROM_SURFACE, _TO_MASS = 3.45 * 4.5, 9.1 * 4.5
"""Exchange of surfaces with air and mass, W/K a m2 of floor (ISO 13790:2008, clauses 7.2.2.2 and
12.2.2)."""


class PositiveLinear(nn.Module):
    """A linear layer with positive weights, and no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(outputs, inputs) * 0.5 - 1.5)
        self.scale = inputs**-0.5

    @property
    def weight(self) -> Tensor:
        """[outputs, inputs]."""
        return functional.softplus(self.raw) * self.scale


class _Balance(NamedTuple):
    """A building's balance of heat at a steady set-point, a m2 of floor.

    Attributes:
        loss: [1, B] W/K.
        heated, whole: [12, B] W of gains that count, mean of a month's heated days and of all.
        sun_k: [1, B] K for a W/m2 of sun.
    """

    loss: Tensor
    heated: Tensor
    whole: Tensor
    sun_k: Tensor


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

    shared = ("fields",)

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
        self.shortfall = Shortfall(names, _BELOW)
        self.excess = Excess(names, _ABOVE)
        estimated = {*self.shortfall.columns, *self.excess.columns}
        self.weather = [i for i in range(len(names)) if i not in estimated]
        self.middle, self.levels = spec.median, len(spec.quantiles)
        self.register_buffer("spread", torch.tensor(target[:, 0].std(axis=0)))
        self.spread: Tensor
        with torch.no_grad():
            b, c = torch.as_tensor(scalars[::7]), torch.as_tensor(fields[::7])
            found = self.described(b, c)[0]
            for name, values in found.items():
                self.register_buffer(f"{name}_mean", values.mean((1, 2))[:, None, None])
                spread = values.std((1, 2))[:, None, None] + 1e-6
                self.register_buffer(f"{name}_std", spread)
        hidden, outputs = width // 2, len(spec.outputs)
        self.of_building = nn.Linear(len(found["building"]), width)
        self.of_weather = nn.Linear(len(self.weather), width, bias=False)
        self.of_gains = nn.Linear(2, width, bias=False)
        self.state = nn.Linear(width, width)
        self.rise_rates = PositiveLinear(_RATES, hidden)
        self.rise_1 = PositiveLinear(_WARM, hidden)
        self.rise_2 = PositiveLinear(hidden, hidden)
        self.parts = (hidden, hidden, hidden, hidden, 1, _WARM, width)
        self.from_state = nn.Linear(width, sum(self.parts))
        self.rest_rates = nn.Linear(_RATES, width, bias=False)
        self.rest = nn.Linear(_WARM + _COOL, width, bias=False)
        self.heads = nn.Linear(width, outputs - 2 + _COOL)
        self.widths = nn.Linear(width, outputs * (self.levels - 1))
        with torch.no_grad():  # begins as the estimates' mean
            self.from_state.bias[3 * hidden : 4 * hidden] = -3.0
            self.from_state.bias[4 * hidden + 1 :][:_WARM] = -math.log(_WARM - 1)
            self.heads.bias[outputs - 2 :] = -math.log(_COOL - 1)

    def described(
        self, scalars: Tensor, fields: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """What the network is told, [features, 12 or 1, B or 1], and the estimates."""
        v = {name: scalars[:, i] for name, i in self.scalar.items()}
        climate = {name: fields[:, :, i].T for name, i in self.field.items() if i in self.weather}
        glass = GLASS * v["window_ratio"] * v["window_g"]
        sun = [glass * one for one in self._facing(v, climate)]
        losses = self._losses(v)
        balance = self._balance(v, glass, sun, losses)
        warm, cool = self._estimates(v, climate, fields, balance)
        rates = torch.stack([*losses, losses[0] + losses[1] + losses[2]])
        logs = (torch.cat([warm, cool]) + _LEAST_KWH).log()
        told = {
            "building": self._building(v, glass),
            "weather": fields[:, :, self.weather].permute(2, 1, 0),
            "gains": torch.stack(sun) + v["internal_w_m2"],
            "rates": rates[:, None].log(),
            "logs": logs,
        }
        return told, warm, cool

    def _losses(self, v: dict[str, Tensor]) -> list[Tensor]:
        """Through what is opaque, through windows, and by air: [B] each, W/m2K."""
        envelope = v["wall_ratio"] + v["roof_ratio"] + v["ground_ratio"] + v["window_ratio"]
        walls = v["wall_ratio"] * v["wall_w_m2k"] + v["roof_ratio"] * v["roof_w_m2k"]
        return [
            one.clamp_min(1e-3)
            for one in (
                walls + v["ground_ratio"] * v["ground_w_m2k"] + envelope * v["bridge_w_m2k"],
                v["window_ratio"] * v["window_w_m2k"],
                0.34 * v["air_change_h"] * v["height_m"],
            )
        ]

    def _building(self, v: dict[str, Tensor], glass: Tensor) -> Tensor:
        """What tells of a building but its losses, [K, 1, B]."""
        mass = torch.full_like(glass, _MASS_M2[0])
        steps = zip(pairwise(_MASS_KJ), pairwise(_MASS_M2), strict=True)
        for (low, high), (first, last) in steps:
            slope = (last - first) / (high - low)
            if slope:
                mass = mass + (v["mass_kj_m2k"] - low).clamp(0.0, high - low) * slope
        found = [
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
        return torch.stack(found)[:, None]

    def _facing(self, v: dict[str, Tensor], climate: dict[str, Tensor]) -> list[Tensor]:
        """Irradiance where a building's glass faces, [12, B] W/m2: of heated days, of all."""
        found = []
        for part in ("heated", "all"):
            north, east, south, west = (climate[f"{part}_{wall}_w_m2"] / 2 for wall in _WALLS)
            found.append((east + west) + v["glass_north_south"] * ((north + south) - (east + west)))
        return found

    def _balance(
        self, v: dict[str, Tensor], glass: Tensor, sun: list[Tensor], losses: list[Tensor]
    ) -> _Balance:
        """The 5R1C's at a steady set-point, solved for the power (ISO 13790:2008, Annex C)."""
        still = losses[0] + losses[1]
        felt = _FROM_SURFACE / (still + _FROM_SURFACE)
        lit = felt * (1 - still / _TO_MASS)
        internal = (1 + lit) / 2 * v["internal_w_m2"]
        loss = felt * still + losses[2]
        heated, whole = (lit * one + internal for one in sun)
        return _Balance(loss[None], heated, whole, (lit * glass / loss)[None])

    def _estimates(
        self,
        v: dict[str, Tensor],
        climate: dict[str, Tensor],
        fields: Tensor,
        balance: _Balance,
    ) -> tuple[Tensor, Tensor]:
        """Balance-point estimates of heating and cooling, [K, 12, B] each, kWh/m2.

        One for each of some set-points about the building's own, of some shares of the gains that
        are of use, and of the table's kinds; heating is no more than the plant can deliver.
        """
        loss = balance.loss
        heated, whole = balance.heated / loss, balance.whole / loss
        base = [v["heating_c"] - lower - used * heated for used in _USED for lower in _LOWER]
        top = [v["cooling_c"] + upper - whole for upper in _UPPER]
        hours = climate["heated_share"] * (_HOURS / 1000)
        warm = self.shortfall.at(torch.stack(base), fields)
        cool = self.excess.at(torch.stack(top), fields, balance.sun_k)
        return (
            torch.minimum(loss * warm, v["heating_w_m2"]) * hours,
            loss * (_HOURS / 1000) * cool,
        )

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Quantiles [B, 1, O, Q] of buildings [B, F] in climates [B, 12, C], or all in one."""
        found, warm, cool = self.described(scalars, fields)
        told = {
            name: (values - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_std")
            for name, values in found.items()
        }
        share = fields[:, :, self.field["heated_share"]].T
        logs, rates = told["logs"], told["rates"]
        state = _across(self.of_weather, told["weather"])
        state = _across(self.of_building, told["building"]) + state
        state = functional.silu(state + _across(self.of_gains, told["gains"]))
        state = functional.silu(_across(self.state, state))
        bend_1, bend_2, gate_2, gate_3, bend_3, mix, rest = _across(self.from_state, state).split(
            self.parts
        )
        x = _across(self.rise_rates, rates) + bend_1
        x = _bent(_across(self.rise_1, logs[:_WARM]) + x)
        x = _bent(_across(self.rise_2, x) * (2 * torch.sigmoid(gate_2)) + bend_2)
        x = (x * torch.sigmoid(gate_3)).sum(0) + bend_3[0]
        mixed = (warm * torch.sigmoid(mix)).sum(0)
        heated = (share > 0).to(scalars.dtype)
        heating = _positive(mixed + self.spread[0] / 6 * x) * heated
        rest = _across(self.rest_rates, rates) + rest
        hidden = functional.silu(_across(self.rest, logs) + rest)
        pump, cold, peak, mix = _across(self.heads, hidden).split((1, 1, 1, _COOL))
        cooling = (cool * torch.sigmoid(mix)).sum(0) * scalars[:, self.scalar["cooled"]]
        outputs = [
            heating.sum(0),
            cooling.sum(0),
            (heating * (1 / 6 + 5 / 6 * torch.sigmoid(pump[0]))).sum(0),
            (torch.sigmoid(cold[0]) * share).sum(0) * _HOURS,
            (torch.sigmoid(peak[0]) * heated).amax(0) * scalars[:, self.scalar["heating_w_m2"]],
        ]
        centre = torch.stack(outputs, dim=1)
        sizes = self.widths(hidden.mean(1).T).unflatten(-1, (-1, self.levels - 1))
        sizes = functional.softplus(sizes - 3) * self.spread[:, None]
        return _fanned(centre, sizes, self.middle)[:, None]


def _across(layer: nn.Linear | PositiveLinear, x: Tensor) -> Tensor:
    """A layer from the first dimension of ``x`` [inputs, M, B] to [outputs, M, B]."""
    found = layer.weight @ x.flatten(1)
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        found = found + layer.bias[:, None]
    return found.unflatten(1, (x.shape[1], -1))


def _bent(x: Tensor) -> Tensor:
    """A rising activation, convex in half of the features and concave in the others (ELU + 1)."""
    up, down = x.chunk(2)
    x = torch.cat([up, -down])
    up, down = (x.clamp_min(0.0) + x.clamp_max(0.0).exp()).chunk(2)
    return torch.cat([up, -down])


def _positive(x: Tensor) -> Tensor:
    """A rising function to positive numbers, nearly the identity from 1 kWh/m2 on."""
    return functional.softplus(x * 4) / 4


def _fanned(centre: Tensor, sizes: Tensor, middle: int) -> Tensor:
    """Rising quantiles [..., Q] from medians [...] and steps [..., Q - 1] outwards from them."""
    up = centre[..., None] + sizes[..., middle:].cumsum(-1)
    down = centre[..., None] - sizes[..., :middle].flip(-1).cumsum(-1).flip(-1)
    return torch.cat([down, centre[..., None], up], dim=-1)
