"""How one flood's water closes streets: the rule between the simulators, and what moves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from models.contracts import BoolArray, FloatArray
from pipelines.domains.chains import Hop
from pipelines.domains.flooded_streets import (
    STANDSTILL_M,
    FloodedStreets,
    measures_of,
    read_depth_m,
)
from pipelines.domains.scenarios import Frozen

DEPTH, LOW, HIGH = "max_depth.tif", "max_depth_low.tif", "max_depth_high.tif"
"""What a flood writes; the ends of the band are a surrogate's alone."""
_SOURCE = "Pregnolato et al. 2017, doi:10.1016/j.trd.2017.06.020"


class RoadKeys(Frozen):
    """How water closes streets.

    Attributes:
        depth_m: deepest water from which a street is closed.
        error_m: by how much a simulated depth is moved to see what then closes.
        slow_from_m: depth from which streets that stay open are slowed; none when left out.
        shift_m: where the origin of a terrain without a place lies, in the network's axes.
    """

    depth_m: float = Field(default=STANDSTILL_M, gt=0, le=3)
    error_m: float = Field(default=0.1, gt=0, le=1)
    slow_from_m: float | None = Field(default=None, ge=0.05)
    shift_m: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _slower_before_closed(self) -> RoadKeys:
        if self.slow_from_m is not None:
            if self.slow_from_m >= self.depth_m:
                raise ValueError(f"slow_from_m {self.slow_from_m:g} must be below depth_m")
            if self.depth_m > STANDSTILL_M:
                raise ValueError(f"slow_from_m needs depth_m up to {STANDSTILL_M:g}: cars stand")
        return self


class Roads:
    """The streets under one flood's water.

    Args:
        asked: how it closes them.
        streets: with E edges.
        folder: the flood's.
        water: its report.
    """

    def __init__(
        self, asked: RoadKeys, streets: FloodedStreets, folder: Path, water: dict[str, Any]
    ) -> None:
        self.asked, self.streets = asked, streets
        self.depth_m = streets.deepest_m(read_depth_m(folder / DEPTH))
        self.closed: BoolArray = self.depth_m >= asked.depth_m
        self.measures = measures_of(streets, self.depth_m, asked.depth_m, asked.slow_from_m)
        self.sensitivity = self._sensitivity(folder, "surrogate" in water)

    def ids(self, rows: BoolArray) -> list[str]:
        """Edges of some rows."""
        return np.array(self.streets.points.edges)[rows].tolist()

    def _sensitivity(self, folder: Path, learned: bool) -> list[dict[str, Any]]:
        """What closes at the depth's lower and upper end: the surrogate's band, or ``error_m``."""
        if learned:
            ends = {
                "10 % depth of the surrogate": self.streets.deepest_m(read_depth_m(folder / LOW)),
                "90 % depth of the surrogate": self.streets.deepest_m(read_depth_m(folder / HIGH)),
            }
        else:
            error = self.asked.error_m
            ends = {
                f"{error:g} m less water": self.depth_m - error,
                f"{error:g} m more water": np.where(self.depth_m > 0, self.depth_m + error, 0.0),
            }
        low, high = ends.items()
        return [self._closing(*one) for one in (low, ("as it was run", self.depth_m), high)]

    def _closing(self, what: str, depth_m: FloatArray) -> dict[str, Any]:
        closed = depth_m >= self.asked.depth_m
        km = float(self.streets.length_m[closed].sum() / 1000)
        return {"water": what, "edges": int(closed.sum()), "km": km}

    @property
    def table(self) -> list[dict[str, Any]]:
        """Every edge with water on it, for JSON."""
        rows = zip(self.streets.points.edges, self.depth_m, self.closed, strict=True)
        return [
            {"edge": edge, "depth_m": round(float(depth), 3), "closed": bool(closed)}
            for edge, depth, closed in rows
            if depth > 0
        ]

    @property
    def deepest(self) -> list[dict[str, Any]]:
        """The ten streets under the deepest water."""
        order = np.argsort(-self.depth_m, kind="stable")[:10]
        ids = self.streets.points.edges
        return [
            {
                "edge": ids[k],
                "depth_m": float(self.depth_m[k]),
                "length_m": float(self.streets.length_m[k]),
            }
            for k in order
            if self.closed[k]
        ]

    def hop(self) -> Hop:
        """The rule between the simulators."""
        low, now, high = self.sensitivity
        slowed = sum(len(m["edges"]) for m in self.measures if m["kind"] == "speed_limit")
        total_km = float(self.streets.length_m.sum() / 1000)
        outside = int(self.streets.outside.sum())
        handed = f"{now['edges']} of {len(self.closed)} edges closed, {now['km']:.1f} of"
        handed += f" {total_km:.1f} km"
        handed += f"; {slowed} slowed" if self.asked.slow_from_m is not None else ""
        reach = f"{outside} edges reach beyond the terrain, taken as dry there"
        return Hop(
            "roads",
            "rule",
            f"closed from {self.asked.depth_m:g} m of water on ({_SOURCE})",
            f"{low['edges']} edges close with {low['water']}, {high['edges']} with {high['water']}",
            reach if outside else "all edges lie on the terrain",
            handed,
            {"edges_outside": outside, "edges_slowed": slowed, "depth_m": self.asked.depth_m},
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the chain does not know here."""
        shift = self.asked.shift_m
        invented = ()
        if shift is not None:
            invented = (
                "The terrain has no place of its own; its origin was laid at x ="
                f" {shift[0]:g}, y = {shift[1]:g} of the network: which streets these are is"
                " invented.",
            )
        return (
            *invented,
            "Bridges and underpasses are not known: a street has the deepest water of the cells"
            " that its lanes cross, a bridge that of the river below it.",
            "A street is closed during the whole simulated hour, whenever the water comes.",
            "Drivers know every closure from the start, and nobody stays at home for it. Trips that"
            " cannot be made are left out: those that remain may drive faster than today.",
        )
