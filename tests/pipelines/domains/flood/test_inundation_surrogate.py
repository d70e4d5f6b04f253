"""Drawn inundations for a surrogate, and a scenario in its terms."""

import numpy as np
import pytest
import rasterio

from models.contracts import FelsinaError
from models.scenario import CALIBRATION, STOPPING, TRAIN
from pipelines.domains.flood.hydrographs import Hydrograph
from pipelines.domains.flood.inundation_answering import answer_scenario, flooded_share
from pipelines.domains.flood.inundation_question import fitted_wave
from pipelines.domains.flood.inundation_sampling import (
    HELD_OUT_TERRAINS,
    Design,
    sample,
    simulated,
)
from pipelines.domains.flood.inundation_surrogate import STEP_S, inflow_m3_s, storm_mm_h
from pipelines.surrogates import release_surrogate, surrogate_settings
from serving.surrogate import load_surrogate
from tests.factories import Silent
from training.experiments import open_experiments

SMALL = {"name": "small", "domain": "flood", "rows": 32, "columns": 32, "scenarios": 2}
SMALL |= {"training": 2, "stopping": 1, "calibration": 1, "held_out": 1, "together": 5}


def silent(text, share): ...


def read_band(path):
    with rasterio.open(path) as file:
        return file.read(1, masked=True).filled(np.nan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn")
    sample(SMALL, out, out, silent)
    return out


def test_a_design_says_what_each_run_is_for():
    runs = Design(name="x", domain="flood").runs()
    terrains = {kind: {t for k, t, _ in runs if k == kind} for kind in {k for k, _, _ in runs}}
    assert not terrains["held-out terrains"] & terrains[TRAIN]
    assert not terrains[CALIBRATION] & (terrains[TRAIN] | terrains[STOPPING])
    assert terrains["held-out scenarios"] < terrains[TRAIN]
    assert len(runs) == 220 * 6


def test_storms_and_inflows_keep_their_volume():
    depth, hours, peak = np.array([60.0, 10.0]), np.array([2.0, 6.0]), np.array([0.3, 0.8])
    storm = storm_mm_h(depth, hours, peak)
    np.testing.assert_allclose(storm.sum(0) * STEP_S / 3600, depth)
    assert (storm >= 0).all()
    flow = inflow_m3_s(np.array([90.0]), np.array([1.0]), np.array([3.0]))
    assert flow.max() == pytest.approx(90)
    assert flow[0, 0] == 0


def test_drawn_experiments_are_whole_and_the_same_again(folder, tmp_path):
    drawn = open_experiments(folder)
    assert drawn.tests == ["held-out scenarios", "held-out terrains"]
    assert (drawn.target[..., :-1] >= 0).all()
    assert (drawn.target[..., 0] >= drawn.target[..., 1:-1].max(-1) - 1e-6).all()
    came = drawn.target[..., 0] >= 0.05
    assert np.array_equal(np.isfinite(drawn.target[..., -1]), came)
    stopped = RuntimeError("killed")

    def kill(text, share):
        if share >= 0.5:
            raise stopped

    with pytest.raises(RuntimeError):
        sample(SMALL, tmp_path, tmp_path, kill)
    sample(SMALL, tmp_path, tmp_path, silent)
    assert open_experiments(tmp_path).digests == drawn.digests


def test_a_terrain_that_water_enters_comes_as_a_preset(folder):
    drawn = open_experiments(folder)
    (terrain,) = drawn.spec.presets.values()
    held_out = drawn.split == HELD_OUT_TERRAINS
    same = [np.allclose(fields, terrain, atol=1e-4) for fields in drawn.fields]
    assert (np.array(same) & held_out).any()
    assert not (np.array(same) & (drawn.split == TRAIN)).any()
    entered = drawn.fields[held_out, :, 2].sum(1) > 0
    assert (np.array(terrain)[:, 2].sum() > 0) == entered.any()


def test_a_coarser_grid_floods_like_places(folder):
    drawn = open_experiments(folder)
    grid = Design(**SMALL).grid
    rows = np.arange(4)
    coarse = simulated(drawn.scalars[rows], drawn.fields[rows], grid, 2)
    assert coarse.shape == drawn.target[rows].shape
    fine = simulated(drawn.scalars[rows], drawn.fields[rows], grid)
    np.testing.assert_allclose(fine, drawn.target[rows], atol=1e-5)


def test_a_wave_is_fitted_with_its_peak_and_volume():
    hours = np.linspace(0, 8, 97)
    flow = inflow_m3_s(np.array([80.0]), np.array([1.5]), np.array([2.0]))[:, 0]
    wave, off = fitted_wave(Hydrograph(np.arange(len(flow)) * STEP_S, flow))
    assert wave == pytest.approx({"inflow_m3_s": 80, "rise_h": 1.5, "fall_h": 2.0}, rel=0.02)
    assert off < 0.01
    block = Hydrograph(hours * 3600, np.where(hours < 4, 50.0, 0.0))
    wave, off = fitted_wave(block)
    assert wave["inflow_m3_s"] == 50
    assert off > 0.1


def test_the_chance_of_water_follows_the_quantiles():
    levels = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
    values = np.array([[0, 0, 0, 0.05, 0.2, 0.3, 0.4], [1] * 7, [0] * 7], float)
    assert flooded_share(values, levels, 0.05) == pytest.approx([0.5, 0.975, 0.025])
    assert flooded_share(values[:1], levels, 0.25) == pytest.approx([1 - 0.825])


@pytest.fixture(scope="module")
def surrogate(folder, tmp_path_factory):
    """Trained for four steps: it answers, and knows next to nothing."""
    drawn = open_experiments(folder)
    quick = ["steps=4", "evaluate_every=2", "batch=2"]
    settings = surrogate_settings(drawn, assignments=quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.export._REPEATS", 3)
        made = release_surrogate(drawn, settings, tmp_path_factory.mktemp("home"), Silent())
    return load_surrogate(made)


def asked(**changes):
    return {
        "name": "A storm and a gap",
        "domain": "flood",
        "hours": 8,
        "roughness": 0.05,
        "infiltration_mm_h": 2.0,
        "homes": "embedded",
        "terrain": {"synthetic": {"seed": 100_000, "rows": 32, "columns": 32, "cell_m": 50}},
        "rain": {"kind": "chicago", "a_mm": 40, "n": 0.4, "hours": 2},
        "inflow": [{"x": 800, "y": 800, "peak_m3_s": 40, "to_peak_h": 1, "duration_h": 4}],
    } | changes


@pytest.mark.slow
def test_the_exported_graph_says_the_same(surrogate):
    said = surrogate.manifest["export"]
    assert said["largest_relative_difference"] <= said["allowed"] == 0.01


@pytest.mark.slow
def test_a_scenario_is_answered_with_bands_and_maps(surrogate, tmp_path):
    report = answer_scenario(asked(), tmp_path, tmp_path, silent, [surrogate])
    assert {path.name for path in tmp_path.iterdir()} == set(report["files"])
    low, depth, high, chance = (
        read_band(tmp_path / f"{name}.tif")
        for name in ("max_depth_low", "max_depth", "max_depth_high", "probability")
    )
    wet = np.isfinite(depth)
    assert (low[wet] <= depth[wet] + 1e-6).all()
    assert (depth[wet] <= high[wet] + 1e-6).all()
    assert (chance[wet] >= 0.5 - 1e-6).all()
    assert ((chance >= 0) & (chance <= 1)).all()
    errors = report["surrogate"]["errors"]["held-out terrains"]["outputs"]
    assert {"total_error", "total_bias"} <= set(errors["depth_8h_m"])
    assert "total_error" not in errors["max_depth_m"]
    assert report["flooded_over_time"]["hours"] == [0, 1, 2, 4, 6, 8]
    assert report["areas"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hours": 12}, "hours = 12: surrogates know 8"),
        ({"edges": {"west": "wall"}}, "edges.west: surrogates know open edges"),
        ({"infiltration_mm_h": 40.0}, "infiltration_mm_h"),
        (
            {"terrain": {"synthetic": {"seed": 1, "rows": 48, "columns": 32, "cell_m": 50}}},
            "48 x 32 cells of 50 m; small knows 32 x 32 of 50 m",
        ),
        ({"rain": {"kind": "uniform", "a_mm": 40, "n": 0.4, "hours": 2}}, "Chicago storms"),
        (
            {"breach": [{"river": 0.4, "side": "left", "width_m": 60, "hour": 1}]},
            "give its flow as an",
        ),
    ],
)
def test_what_was_not_learned_is_refused(surrogate, tmp_path, changes, message):
    with pytest.raises(FelsinaError, match=message):
        answer_scenario(asked(**changes), tmp_path, tmp_path, silent, [surrogate])
    assert not list(tmp_path.iterdir())
