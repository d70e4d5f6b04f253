"""What scenario files of all domains share: no number that is none."""

from __future__ import annotations

import math
from typing import Any

import pytest

from models.contracts import FelsinaError
from pipelines.domains.energy.heat_wave import HeatKeys
from pipelines.domains.flood.outlook_file import GaugeKeys
from pipelines.domains.flood.scenario_file import Scenario
from pipelines.domains.scenarios import Frozen, read_keys

GAUGE = {"dataset": "d", "node": "n", "width_m": 9.0, "crest_m": 1.0}
FLOOD = {"name": "x", "domain": "flood", "hours": 2, "terrain": "dtm.tif"}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("kind", "whole", "key"),
    [
        (GaugeKeys, GAUGE, "crest_m"),
        (GaugeKeys, GAUGE, "width_m"),
        (Scenario, FLOOD, "roughness"),
        (Scenario, FLOOD, "hours"),
        (HeatKeys, {}, "delta_k"),
    ],
)
def test_a_number_that_is_none_is_refused_by_its_key(
    kind: type[Frozen], whole: dict[str, Any], key: str, odd: float
) -> None:
    with pytest.raises(FelsinaError, match=f"{key}.* = {odd}: .*finite") as refused:
        read_keys(kind, whole | {key: odd})
    assert "\n" not in str(refused.value)
