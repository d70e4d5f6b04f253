"""Rain against thresholds of intensity and duration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import FelsinaError
from models.physics.rain_thresholds import CAINE_1980, GUZZETTI_2008, Threshold, exceedance

seeds = st.integers(0, 2**31)


def rain_of(seed: int, steps: int = 40) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    rain = 12 * torch.rand(3, steps, generator=chance, dtype=torch.float64)
    return rain * (torch.rand(3, steps, generator=chance) < 0.5)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, step_h=st.sampled_from([0.25, 1.0, 3.0]))
def test_it_is_the_greatest_over_all_runs(seed, step_h):
    rain = rain_of(seed)
    found = exceedance(rain, step_h, CAINE_1980)
    for begin in (0, 7, 39):
        runs = [
            (rain[1, begin : begin + n].mean() / (14.82 * (n * step_h) ** -0.39), n * step_h)
            for n in range(1, 41 - begin)
        ]
        ratio, duration = max(runs, key=lambda run: run[0])
        assert found.ratio[1, begin].item() == pytest.approx(ratio.item())
        if ratio > 0:
            assert found.duration_h[1, begin].item() == pytest.approx(duration)


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_more_rain_reaches_further(seed):
    rain = rain_of(seed)
    ratio = exceedance(rain, 1.0, GUZZETTI_2008).ratio
    assert (exceedance(rain + 0.1, 1.0, GUZZETTI_2008).ratio > ratio).all()
    torch.testing.assert_close(exceedance(2 * rain, 1.0, GUZZETTI_2008).ratio, 2 * ratio)


def test_series_are_each_on_their_own():
    rain = rain_of(5)
    together = exceedance(rain, 1.0, CAINE_1980)
    alone = exceedance(rain[2], 1.0, CAINE_1980)
    torch.testing.assert_close(together.ratio[2], alone.ratio)
    assert together.exceeded.shape == (3,)
    assert together.exceeded[2] == alone.exceeded


def test_durations_outside_a_thresholds_range_are_left_out():
    narrow = Threshold("own", 5.0, 0.5, floor_mm_h=0.3, shortest_h=3, longest_h=4)
    rain = torch.zeros(10, dtype=torch.float64)
    rain[0] = 100
    found = exceedance(rain, 1.0, narrow)
    assert found.duration_h[0] == 3
    assert found.ratio[0].item() == pytest.approx(100 / 3 / (0.3 + 5 / math.sqrt(3)))
    assert found.ratio[-2:].isnan().all()
    assert not exceedance(0 * rain, 1.0, narrow).exceeded


def test_what_cannot_be_is_refused():
    with pytest.raises(FelsinaError, match="threshold own: exponent is -1"):
        Threshold("own", 5.0, -1)
    with pytest.raises(FelsinaError, match="threshold own is zero"):
        Threshold("own", 0.0, 0.5)
    with pytest.raises(FelsinaError, match="rise from 0 up"):
        Threshold("own", 1.0, 0.5, shortest_h=5, longest_h=5)
    with pytest.raises(FelsinaError, match="step_h is 0"):
        exceedance(torch.ones(4), 0, CAINE_1980)
    with pytest.raises(FelsinaError, match="negative or missing"):
        exceedance(torch.tensor([1.0, math.nan]), 1, CAINE_1980)
