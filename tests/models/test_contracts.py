"""What the contracts refuse, and that each survives its own JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.contracts import (
    INPUTS,
    KNOWN_UNITS,
    QUANTILES,
    CityGraph,
    FelsinaError,
    Forcing,
    Forecast,
    ForecastSpec,
    Window,
    step_seconds,
)
from tests.factories import make_graph, make_spec


def one_line(caught) -> str:
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("step", "seconds"), [("1h", 3600), ("h", 3600), ("15min", 900), ("30 s", 30), ("1D", 86400)]
)
def test_steps_are_read(step, seconds):
    assert step_seconds(step) == seconds


@pytest.mark.parametrize("step", ["7h", "0h", "1M", "hourly", "", "-1h", "1.5h", "2D", "1H"])
def test_other_steps_are_refused_by_name(step):
    with pytest.raises(FelsinaError) as caught:
        step_seconds(step)
    assert repr(step) in one_line(caught)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "furlong"}, ["furlong", "veh/h", "target flow"]),
        ({"step": "7h"}, ["7h", "15min"]),
        ({"dataset": "no spaces"}, ["no spaces", "hyphens"]),
        ({"dataset": "a_b"}, ["a_b"]),
        ({"dataset": "-a"}, ["-a"]),
        ({"dataset": "a--b"}, ["a--b"]),
        ({"dataset": "../a"}, ["../a"]),
        ({"dataset": "a\n"}, ["a"]),
        ({"dataset": ""}, ["hyphens"]),
        ({"lookback": 0}, ["lookback", "0"]),
        ({"horizon": -3}, ["horizon", "-3"]),
        ({"lags": (24, 0)}, ["lags", "24, 0"]),
        ({"lags": (-1,)}, ["lags", "-1"]),
        ({"quantiles": (0.1, 0.9)}, ["quantiles", "0.5"]),
        ({"quantiles": (0.5, 0.1)}, ["quantiles", "rising"]),
        ({"quantiles": (0.1, 0.5, 0.5, 0.9)}, ["quantiles", "rising"]),
        (
            {"forcings": (Forcing("rain", "mm", False), Forcing("temp", "degC", True))},
            ["forcings", "known-future"],
        ),
    ],
)
def test_a_spec_is_refused_in_one_line(changes, words):
    with pytest.raises(FelsinaError) as caught:
        make_spec(**changes)
    text = one_line(caught)
    for word in words:
        assert word in text


def test_a_forcing_of_unknown_unit_is_refused():
    with pytest.raises(FelsinaError) as caught:
        Forcing("wind", "knots", True)
    text = one_line(caught)
    assert "forcing wind" in text
    assert "'knots'" in text
    assert all(unit in text for unit in KNOWN_UNITS)


def test_a_spec_survives_json():
    spec = make_spec(quantiles=(0.1, 0.5, 0.9))
    assert ForecastSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_spec_knows_its_day_and_its_reach():
    spec = make_spec(step="15min", lookback=100, lags=(96, 672))
    assert (spec.seconds, spec.steps_per_day) == (900, 96)
    assert spec.reach == 672 + 96
    assert make_spec(lookback=500, lags=(24,)).reach == 500
    assert [forcing.name for forcing in spec.known_future] == ["temp_c"]


def test_lags_are_sorted_and_stand_once():
    assert make_spec(lags=()).with_lags((168, 24, 168)).lags == (24, 168)


def test_the_levels_hold_the_deciles_and_the_median():
    assert list(QUANTILES) == sorted(set(QUANTILES))
    assert {round(0.1 * d, 1) for d in range(1, 10)} <= set(QUANTILES)
    assert np.allclose(np.array(QUANTILES) + np.array(QUANTILES)[::-1], 1)


def test_a_graph_survives_json():
    graph = replace(make_graph(), attributes={"lanes": ("2", "1", "", "3")})
    graph.lon[1] = np.nan
    graph.thresholds[2] = [1.0, 2.5, np.nan]
    back = CityGraph.from_dict(json.loads(json.dumps(graph.to_dict(), allow_nan=False)))
    for name in ("ids", "names", "areas", "attributes"):
        assert getattr(back, name) == getattr(graph, name)
    for name in ("lon", "lat", "thresholds", "source", "target", "weight"):
        np.testing.assert_array_equal(getattr(back, name), getattr(graph, name))
    assert back.weight.dtype == np.float32


def test_a_graph_without_edges_survives_json():
    graph = replace(
        make_graph(), source=np.zeros(0, int), target=np.zeros(0, int), weight=np.zeros(0)
    )
    assert len(CityGraph.from_dict(graph.to_dict()).source) == 0


def test_an_unknown_node_is_named_beside_some_that_are_known():
    with pytest.raises(FelsinaError) as caught:
        make_graph(8).index(["b", "zz", "a"], "series")
    text = one_line(caught)
    assert text.startswith("series: unknown node zz")
    assert "a, b, c, d, e, ..." in text


def test_known_nodes_are_found_in_the_order_asked():
    assert make_graph().index(["c", "a"]).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ids": ("a", "b", "a", "d")}, "repeat: a"),
        ({"lon": np.zeros(3)}, "lon has 3 rows, not 4"),
        ({"names": ("x",)}, "names has 1"),
        ({"thresholds": np.zeros((2, 3))}, "thresholds"),
        ({"target": np.array([0, 1, 2, 4])}, "4 of 4 nodes"),
        ({"source": np.array([-1, 1, 2, 3])}, "-1 of 4 nodes"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(changes, word):
    with pytest.raises(FelsinaError) as caught:
        replace(make_graph(), **changes)
    assert word in one_line(caught)


def make_window(**changes) -> Window:
    parts = {
        "past": np.zeros((2, 3, 4)),
        "lags": np.zeros((2, 1, 5, 4)),
        "past_forcings": np.zeros((2, 3, 1, 0)),
        "future_forcings": np.zeros((2, 5, 1, 0)),
        "past_calendar": np.zeros((2, 3, 6), int),
        "future_calendar": np.zeros((2, 5, 6), int),
    }
    return Window(**(parts | changes))


def test_window_parts_of_unequal_batch_are_refused():
    with pytest.raises(FelsinaError) as caught:
        make_window(past=np.zeros((3, 3, 4)))
    assert "'past': 3" in one_line(caught)
    with pytest.raises(FelsinaError):
        make_window(target=np.zeros((1, 5, 4)))


def test_a_window_hands_its_inputs_without_the_target():
    window = make_window(target=np.ones((2, 5, 4)))
    assert tuple(window.inputs()) == INPUTS
    assert "target" not in INPUTS
    assert window.inputs()["past"] is window.past


def make_forecast(quantiles: np.ndarray) -> Forecast:
    horizon, nodes, _ = quantiles.shape
    init = np.datetime64("2024-03-01T00:00:00")
    return Forecast(
        quantiles=quantiles,
        levels=(0.1, 0.5, 0.9),
        init_time=init,
        valid_times=init + np.arange(1, horizon + 1) * np.timedelta64(1, "h"),
        unit="veh/h",
        release="tiny-1",
        observed_fraction=np.ones(nodes),
    )


def test_a_forecast_may_have_equal_quantiles():
    assert make_forecast(np.zeros((2, 4, 3))).unit == "veh/h"


def test_quantiles_that_cross_are_refused():
    quantiles = np.tile([1.0, 2.0, 3.0], (2, 4, 1))
    quantiles[1, 3] = [1.0, 3.0, 2.0]
    with pytest.raises(FelsinaError) as caught:
        make_forecast(quantiles)
    assert "tiny-1" in one_line(caught)
    assert "cross" in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_forecast_that_is_not_finite_is_refused(bad):
    quantiles = np.tile([1.0, 2.0, 3.0], (2, 4, 1))
    quantiles[0, 0, 2 if bad > 0 else 0] = bad
    with pytest.raises(FelsinaError) as caught:
        make_forecast(quantiles)
    assert "not finite" in one_line(caught)


def test_a_forecast_of_another_shape_is_refused():
    forecast = make_forecast(np.zeros((2, 4, 3)))
    for changes in (
        {"levels": (0.1, 0.5)},
        {"valid_times": forecast.valid_times[:1]},
        {"observed_fraction": np.ones(3)},
    ):
        with pytest.raises(FelsinaError, match="does not match"):
            replace(forecast, **changes)


def test_a_part_of_a_graph_keeps_its_nodes_and_the_edges_between_them():
    graph = make_graph()
    part = graph.part(np.array([2, 0, 1]))
    assert part.ids == ("c", "a", "b")
    assert part.lon.tolist() == graph.lon[[2, 0, 1]].tolist()
    edges = {
        (graph.ids[s], graph.ids[t]): w
        for s, t, w in zip(graph.source, graph.target, graph.weight, strict=True)
        if "d" not in (graph.ids[s], graph.ids[t])
    }
    assert edges
    assert edges == {
        (part.ids[s], part.ids[t]): w
        for s, t, w in zip(part.source, part.target, part.weight, strict=True)
    }
