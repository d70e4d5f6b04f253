"""What an outlook's file says of its gauge, against what the gauge is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.flood.gauge_checks import check_crest, crest_doubt
from pipelines.domains.flood.outlook_file import GaugeKeys, RatingKeys
from pipelines.domains.flood.rating import beyond_table, levels_of, stage_of

TABLE = "stage_m,flow_m3_s\n0,0\n1,20\n2,80\n3,190\n"


def keys(**changes: Any) -> GaugeKeys:
    whole = {"dataset": "river", "node": "d", "crest_m": 3.4, "width_m": 10.0}
    return GaugeKeys.model_validate(whole | changes)


def test_a_crest_in_metres_above_sea_level_is_refused_or_doubted() -> None:
    levels = levels_of(np.array([330.0, np.nan, 110.0]), "cm", None, Path())
    np.testing.assert_allclose(levels, [1.1, 3.3])
    with pytest.raises(FelsinaError, match=r"crest_m = 32\.4 .*, 3\.3 m; .*own zero") as refused:
        check_crest(keys(crest_m=32.4), levels)
    assert "\n" not in str(refused.value)
    for crest, doubt in ((0.9, "under"), (3.4, None), (5.4, None), (5.6, "2.3 m over")):
        check_crest(keys(crest_m=crest), levels)
        said = crest_doubt(keys(crest_m=crest), levels)
        assert said is None if doubt is None else doubt in (said or "")
    check_crest(keys(crest_m=4.3), np.array([1.2]))  # of one level alone no range is known
    with pytest.raises(FelsinaError, match="own zero"):
        check_crest(keys(crest_m=4.5), np.array([1.2]))
    none = levels_of(np.full(3, np.nan), "m", None, Path())
    check_crest(keys(crest_m=32.4), none)
    assert "was not checked" in (crest_doubt(keys(crest_m=32.4), none) or "")


def test_alert_levels_of_discharge_are_stages_by_the_rating(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(TABLE)
    levels = levels_of(np.array([20.0, 80.0, 900.0]), "m3/s", RatingKeys(file="r.csv"), tmp_path)
    np.testing.assert_allclose(levels, [1, 2])
    with pytest.raises(FelsinaError, match="highest alert level of d, 2 m"):
        check_crest(keys(crest_m=5.5), levels)


def test_one_member_past_the_ratings_end_is_held_where_that_is_high_enough(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(TABLE)
    table, flow = RatingKeys(file="r.csv"), np.full((50, 3), 80.0)
    flow[7, 2] = 191
    stage = stage_of(flow, "m3/s", table, tmp_path, top_m=3.0)
    assert stage[7].tolist() == [2, 2, 3]
    assert beyond_table(flow, table, tmp_path).sum() == 1
    assert not beyond_table(flow, RatingKeys(a=1, b=2), tmp_path).any()
    with pytest.raises(FelsinaError, match=r"190 m3/s \(3 m\), the forecast at 191; .*= 3\.1 m"):
        stage_of(flow, "m3/s", table, tmp_path, top_m=3.1)
