"""What an outlook's file says of its gauge, against what the gauge is."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from models.joint import members
from pipelines.domains.flood import gauge_checks
from pipelines.domains.flood.gauge import ask_gauge, joint_members
from pipelines.domains.flood.gauge_checks import check_crest, crest_doubt
from pipelines.domains.flood.outlook_file import GaugeKeys, RatingKeys
from pipelines.domains.flood.rating import beyond_table, levels_of, stage_of

AT = "2024-04-10T06:00"
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


def test_fewer_members_have_the_quantiles_they_came_from(river: Path) -> None:
    found = ask_gauge(keys(dataset=str(river), members=20, at=AT), Path())
    spec = found.runtime.release.spec
    few = joint_members(found.runtime, found.forecast, found.node, 20)
    ranks = np.arange(20)[:, None, None].repeat(spec.horizon, axis=1)
    own = found.forecast.quantiles[:, found.node : found.node + 1]
    ladder = members(own, spec.quantiles, ranks.astype(np.uint8), spec.nonnegative)
    np.testing.assert_allclose(np.sort(few, axis=0), ladder[..., 0], rtol=1e-6)
    np.testing.assert_allclose(found.stage_m[:, 1:], few / 100)
    assert found.stage_m[:, 0] == pytest.approx(found.observed_m)
    assert found.valid_time(1.5) == "2024-04-10T07:30:00Z"


def test_a_latest_observation_that_is_old_is_said_to_be(
    river: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(at: str | None, dataset: str = str(river)) -> str:
        found = ask_gauge(keys(dataset=dataset, members=20, at=at), Path())
        return "; ".join(found.warnings)

    for dataset in (str(river), "river"):  # a folder's, and what is held
        assert re.search(
            r"at is left out: .* of 2024-04-14T23:00:00Z, [\d,]+ days", told(None, dataset)
        )
        assert "left out" not in told(AT, dataset)
    monkeypatch.setattr(gauge_checks, "now", lambda: np.datetime64("2024-04-15T01:30:00", "s"))
    assert "left out" not in told(None)


@pytest.mark.parametrize(
    ("at", "span"),
    [
        ("2024-03-10T06:00", "training"),
        ("2024-03-19T23:00", "validation"),
        ("2024-04-04T22:00", "validation"),
        ("2024-04-04T23:00", None),
    ],
)
def test_hours_that_the_release_has_seen_are_said_to_be(
    river: Path, at: str, span: str | None
) -> None:
    found = ask_gauge(keys(dataset=str(river), members=20, at=at), Path())
    said = [one for one in found.warnings if "has seen these hours" in one]
    assert len(said) == (span is not None)
    assert all(f"within the release's {span} span" in one for one in said)


@pytest.mark.parametrize("changed", [{"unit": "m"}, {"target": "level"}, {"step": "2h"}])
def test_a_folder_of_other_series_than_the_release_is_refused(
    river: Path, tmp_path: Path, changed: dict[str, str]
) -> None:
    folder = tmp_path / "river"
    shutil.copytree(river, folder)
    (key, value), file = *changed.items(), folder / "dataset.toml"
    was = next(line for line in file.read_text().splitlines() if line.startswith(f"{key} = "))
    file.write_text(file.read_text().replace(was, f'{key} = "{value}"', 1))
    if key == "step":  # else the series are not on its grid
        for path in folder.glob("*.parquet"):
            table = pd.read_parquet(path)
            table.iloc[::2].to_parquet(path)
    with pytest.raises(FelsinaError, match=rf"its {key} is {value}, .*felsina run") as refused:
        ask_gauge(keys(dataset=str(folder), at=AT), Path())
    assert "\n" not in str(refused.value)


def test_discharge_becomes_stage_by_its_rating(tmp_path: Path) -> None:
    flow = np.array([[0.0, 20.0, 80.0]])
    law = RatingKeys(a=20, b=2, h0_m=-0.5)
    np.testing.assert_allclose(stage_of(flow, "m3/s", law, tmp_path), [[-0.5, 0.5, 1.5]])
    (tmp_path / "r.csv").write_text("stage_m,flow_m3_s\n0,10\n1,30\n3,100\n")
    table = RatingKeys(file="r.csv")
    np.testing.assert_allclose(stage_of(flow, "m3/s", table, tmp_path), [[0, 0.5, 1 + 100 / 70]])
    for values, rating, unit, told in (
        (flow, None, "m3/s", "rating = "),
        (flow, RatingKeys(a=3), "m3/s", "both a and b"),
        (2 * flow, table, "m3/s", r"ends at 100 m3/s \(3 m\), the forecast at 160"),
        (flow, RatingKeys(file="none.csv"), "m3/s", "none.csv"),
        (flow, None, "veh/h", "veh/h"),
    ):
        with pytest.raises(FelsinaError, match=told):
            stage_of(values, unit, rating, tmp_path)
    (tmp_path / "r.csv").write_text("stage_m,flow_m3_s\n0,10\n1,5\n")
    with pytest.raises(FelsinaError, match="must rise"):
        stage_of(flow, "m3/s", table, tmp_path)
