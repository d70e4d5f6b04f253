"""The keys of an outlook: an inundation scenario whose water comes over a levee, by a forecast."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from pipelines.domains.flood.scenario_file import Scenario
from pipelines.domains.scenarios import Frozen

BROAD_CREST = 1.7
"""Of ``Q = c b h^1.5``, m^0.5/s: (2/3)^1.5 g^0.5 = 1.705 where the flow over a broad crest is
critical (Bos 1989, Discharge measurement structures, ILRI 20, section 1.10)."""


class RatingKeys(Frozen):
    """From a gauge's discharge to its stage.

    Attributes:
        file: CSV with ``stage_m`` and ``flow_m3_s``, both rising; or
        a: of ``Q = a (h - h0_m)^b``, and
        b: of the same.
        h0_m: stage without flow.
    """

    file: str | None = None
    a: float | None = Field(default=None, gt=0)
    b: float | None = Field(default=None, gt=0)
    h0_m: float = 0.0


class BreakKeys(Frozen):
    """When the levee breaks, and what is then left of it.

    Attributes:
        fails_at_m: stage from which it is taken to break.
        sill_m: stage down to which it then sinks.
        minutes: how long that takes.
    """

    fails_at_m: float
    sill_m: float
    minutes: float = Field(default=30.0, ge=0)


class GaugeKeys(Frozen):
    """The gauge that speaks, and the place where its river leaves its bed.

    All stages are of the gauge's own zero; the stage at the gauge is taken for that at the place.

    Attributes:
        dataset: its folder, or the name under which observations are held and forecasts served.
        node: the gauge.
        at: time of the last observation that the forecast sees, UTC where it names no zone; the
            latest when left out.
        members: of the forecast.
        x: where the water comes to land, in the terrain's system, and
        y: the same; or
        river: share of the synthetic river's course, downstream, and
        side: of it, looking downstream.
        crest_m: stage from which the levee is overtopped.
        width_m: over which it is.
        coefficient: c of ``Q = c b h^1.5``.
        most_over_m: no stage passes the crest by more, since the levee is then overtopped far
            along and the river rises no further.
        rating: where the gauge's unit is one of discharge.
        breach: where the levee may break.
    """

    dataset: str = Field(min_length=1)
    node: str
    at: datetime | None = None
    members: int = Field(default=50, ge=10)
    x: float | None = None
    y: float | None = None
    river: float | None = Field(default=None, ge=0, le=1)
    side: Literal["left", "right"] | None = None
    crest_m: float
    width_m: float = Field(gt=0)
    coefficient: float = Field(default=BROAD_CREST, gt=0)
    most_over_m: float = Field(default=0.5, gt=0)
    rating: RatingKeys | None = None
    breach: BreakKeys | None = None


class AlertKeys(Frozen):
    """When an area is warned, and how (``outlook_areas.LEVELS``).

    Attributes:
        depth_m: from which on water is grave.
        share: of an area's people that stand in such water where it is grave for the area.
        probability: from which on it is likely; from a quarter of it on it is possible.
    """

    depth_m: float = Field(default=0.3, ge=0.05)
    share: float = Field(default=0.1, gt=0, le=1)
    probability: float = Field(default=0.4, gt=0, le=1)


class Outlook(Scenario):
    """The file: a scenario without rain, inflow and breach of its own.

    Attributes:
        from_h: when its hours begin, after the forecast's.
        gauge: whose forecast brings the water.
        alerts: for areas.
    """

    from_h: float = Field(default=0.0, ge=0)
    gauge: GaugeKeys
    alerts: AlertKeys = AlertKeys()
