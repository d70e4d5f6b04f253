"""Levels, spreads and weekly profiles, counted exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calendar import CALENDAR, calendar_columns
from models.scaling import DAY_OF_YEAR, FOLDS, SHRINKAGE, NodeScaler, ProfileLevel

STEPS = 24


def calendar(days: int, start: str = "2024-02-05", country: str = "") -> torch.Tensor:
    """Hourly calendar from a Monday on, in UTC."""
    times = np.datetime64(start, "s") + np.arange(24 * days) * np.timedelta64(1, "h")
    return torch.as_tensor(calendar_columns(times, 3600, "UTC", country))


def make_profile(nodes: int = 2, **changes) -> ProfileLevel:
    values = {"weekly": True, "level_steps": 168, "multiplicative": False}
    return ProfileLevel(nodes, STEPS, **(values | changes))


def random_values(rows: int, nodes: int = 2, seed: int = 0, missing: float = 0.2) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 100, (rows, nodes)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return torch.as_tensor(values)


def test_scaler_measures_what_is_seen():
    values = random_values(300, 3)
    forcings = torch.as_tensor(
        np.random.default_rng(1).normal(5, 3, (300, 2, 2)), dtype=torch.float32
    )
    forcings[3:50, 0, 1] = torch.nan
    scaler = NodeScaler(3, 2)
    scaler.fit(values, forcings)
    np.testing.assert_allclose(scaler.mean, np.nanmean(values, 0), rtol=1e-5)
    np.testing.assert_allclose(scaler.scale, np.nanstd(values, 0), rtol=1e-5)
    flat = forcings.reshape(-1, 2).numpy()
    np.testing.assert_allclose(scaler.forcing_mean, np.nanmean(flat, 0), rtol=1e-5)
    np.testing.assert_allclose(scaler.forcing_scale, np.nanstd(flat, 0), rtol=1e-5)
    mean, scale = scaler.measure(values[None])
    z = (values - mean[0]) / scale[0]
    assert torch.equal(z.isnan(), values.isnan())
    np.testing.assert_allclose(np.nanstd(z, 0), 1, rtol=1e-4)


def test_a_large_level_does_not_drown_a_small_spread():
    values = 1e6 + torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    scaler = NodeScaler(1, 0)
    scaler.fit(values, torch.zeros(4, 1, 0))
    assert scaler.scale.item() == pytest.approx(np.std([0, 1, 2, 3]), rel=1e-3)


def test_a_node_never_seen_or_never_moving_takes_the_pooled_moments():
    values = random_values(100, 4, missing=0)
    values[:, 1] = torch.nan
    values[:, 2] = 7.0
    scaler = NodeScaler(4, 0)
    scaler.fit(values, torch.zeros(100, 1, 0))
    known = np.array([0, 2, 3])
    assert scaler.mean[1].item() == pytest.approx(np.nanmean(values[:, known], 0).mean(), rel=1e-5)
    pooled = np.nanstd(values.numpy()[:, known], 0).mean()
    np.testing.assert_allclose(scaler.scale[1:3], pooled, rtol=1e-5)


def test_a_window_is_scaled_by_itself_where_no_node_is_known():
    scaler = NodeScaler(1, 0, by_window=True)
    scaler.fit(random_values(300, 3) + 1000, torch.zeros(300, 1, 0))
    assert scaler.mean.shape == (1,)
    window = torch.tensor([[[10.0, 5.0, torch.nan], [30.0, 5.0, torch.nan]]])
    mean, scale = scaler.measure(window)
    assert mean[0, 0].tolist() == [20.0, 5.0, scaler.mean.item()]
    assert scale[0, 0, 0].item() == pytest.approx(10.0)
    assert scale[0, 0, 1].item() >= 0.05 * 5.0
    assert torch.isfinite(scale).all()
    assert (scale > 0).all()


def test_nothing_seen_at_all_still_gives_a_finite_scale():
    scaler = NodeScaler(2, 1)
    scaler.fit(torch.full((10, 2), torch.nan), torch.full((10, 1, 1), torch.nan))
    for buffer in scaler.state_dict().values():
        assert torch.isfinite(buffer).all()
    assert (scaler.scale > 0).all()
    assert (scaler.forcing_scale > 0).all()


def test_unknown_forcings_stand_at_their_mean():
    scaler = NodeScaler(1, 2)
    scaler.fit(torch.zeros(4, 1), torch.tensor([[[1.0, 10]], [[3, 30]], [[1, 10]], [[3, 30]]]))
    z = scaler.normalise_forcings(torch.tensor([[torch.nan, 40.0]]))
    assert z.tolist() == [[0.0, 2.0]]
    assert scaler.normalise_forcings(torch.tensor([[4.0]]), 1).tolist() == [[2.0]]


def brute_profile(values, slots, row: int, node: int, kept) -> float:
    """Mean of a slot over the rows ``kept``, by hand."""
    column, step = values[:, node], int(slots[row]) % STEPS

    def known(rows) -> list[float]:
        return [float(v) for v in column[kept & rows] if not np.isnan(v)]

    own, by_step, rest = known(slots == slots[row]), known(slots % STEPS == step), known(True)
    overall = float(np.nanmean(values[kept]))
    mean = (sum(rest) + SHRINKAGE * overall) / (len(rest) + SHRINKAGE)
    prior = (sum(by_step) + SHRINKAGE * mean) / (len(by_step) + SHRINKAGE)
    return (sum(own) + SHRINKAGE * prior) / (len(own) + SHRINKAGE)


@pytest.mark.parametrize("weekly", [True, False])
def test_a_slot_is_the_mean_of_the_days_that_are_not_held_out(weekly):
    values, columns = random_values(24 * 35), calendar(35)
    profile = make_profile(weekly=weekly)
    profile.fit(values, columns)
    slots = profile.slots(columns).numpy()
    day = columns[:, DAY_OF_YEAR].numpy()
    usual = profile.profile(columns[None], held_out=True)[0]
    for row in range(0, len(values), 37):
        kept = day % FOLDS != day[row] % FOLDS
        for node in range(2):
            expected = brute_profile(values.numpy(), slots, row, node, kept)
            assert usual[row, node].item() == pytest.approx(expected, rel=1e-5)


def test_short_slots_borrow_from_their_neighbours():
    profile = ProfileLevel(1, 288, False, 0, True)
    assert profile.reach == 4
    columns = torch.zeros(288, len(CALENDAR), dtype=torch.long)
    columns[:, 0] = torch.arange(288)
    values = torch.zeros(288, 1)
    values[100] = 9.0
    profile.fit(values, columns)
    raised = profile.profile(columns[None])[0, :, 0]
    high = torch.nonzero(raised > raised[0] + 1e-3).flatten().tolist()
    assert high == list(range(96, 105))


def test_without_own_values_a_slot_is_the_mean_of_all():
    values, columns = random_values(24 * 28, missing=0), calendar(28)
    profile = make_profile()
    profile.fit(values, columns)
    usual = profile.profile(columns[None])[0]
    mean = values.reshape(4, 168, 2).mean(0)
    node = (values.sum(0) + SHRINKAGE * values.mean()) / (len(values) + SHRINKAGE)
    prior = (values.reshape(28, 24, 2).sum(0) + SHRINKAGE * node) / (28 + SHRINKAGE)
    expected = (4 * mean + SHRINKAGE * prior.repeat(7, 1)) / (4 + SHRINKAGE)
    torch.testing.assert_close(usual[:168], expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 24 * 21 - 1), st.floats(-1e3, 1e3, width=32), st.booleans())
def test_a_day_does_not_tell_its_own_usual_values(row, other, weekly):
    """The profile that is held out at a stamp is the same whatever was observed that day."""
    columns = calendar(21)
    day = columns[:, DAY_OF_YEAR]
    usual = []
    for value in (50.0, other):
        values = random_values(24 * 21)
        values[day == day[row], 0] = value
        profile = make_profile(weekly=weekly)
        profile.fit(values, columns)
        usual.append(profile.profile(columns[None], held_out=True)[0, day == day[row], 0])
    torch.testing.assert_close(usual[0], usual[1], atol=1e-3, rtol=1e-4)


def test_a_holiday_counts_as_a_sunday():
    columns = calendar(14, "2024-04-22", "IT")  # Thursday 25 April is a holiday
    kind, day = CALENDAR.index("day_kind"), CALENDAR.index("day_of_week")
    thursday = slice(3 * 24, 4 * 24)
    assert set(columns[thursday, kind].tolist()) == {1}
    assert set(columns[thursday, day].tolist()) == {3}
    profile = make_profile()
    slots = profile.slots(columns)
    assert torch.equal(slots[thursday], slots[6 * 24 : 7 * 24])
    assert not torch.equal(slots[thursday], slots[10 * 24 : 11 * 24])
    coarse = make_profile(weekly=False).slots(columns)
    assert torch.equal(coarse[thursday], coarse[6 * 24 : 7 * 24])
    assert torch.equal(coarse[thursday], coarse[5 * 24 : 6 * 24])
    assert torch.equal(coarse[:24], coarse[24:48])


def test_every_slot_of_the_week_is_its_own():
    assert sorted(make_profile().slots(calendar(7)).tolist()) == list(range(168))
    assert set(make_profile(weekly=False).slots(calendar(7)).tolist()) == set(range(48))


def test_a_node_never_seen_has_the_shape_of_the_others():
    values = random_values(24 * 28, 3)
    alone, joined = make_profile(), make_profile(nodes=3)
    alone.fit(values[:, :2], calendar(28))
    values[:, 2] = torch.nan
    joined.fit(values, calendar(28))
    torch.testing.assert_close(joined.table[:, :2], alone.table)
    torch.testing.assert_close(joined.table[:, 2], alone.table.mean(1))


@pytest.mark.parametrize("multiplicative", [True, False])
def test_the_level_of_the_last_week_moves_the_profile(multiplicative):
    values, columns = random_values(24 * 42, missing=0) + 10, calendar(42)
    profile = make_profile(multiplicative=multiplicative)
    profile.fit(values, columns)
    usual = profile.profile(columns[None])
    past = usual[:, :168] * 1.5 if multiplicative else usual[:, :168] + 20
    past[:, ::3] = torch.nan
    before, after = profile(past, columns[None, :168], columns[None, 168:192])
    moved = usual * 1.5 if multiplicative else usual + 20
    torch.testing.assert_close(before, moved[:, :168], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(after, moved[:, 168:192], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("multiplicative", [True, False])
def test_a_week_without_observations_leaves_the_profile_where_it_is(multiplicative):
    values, columns = random_values(24 * 28), calendar(28)
    profile = make_profile(multiplicative=multiplicative)
    profile.fit(values, columns)
    nothing = torch.full((1, 168, 2), torch.nan)
    before, after = profile(nothing, columns[None, :168], columns[None, 168:192])
    torch.testing.assert_close(before, profile.profile(columns[None, :168]))
    torch.testing.assert_close(after, profile.profile(columns[None, 168:192]))


def test_fitting_twice_is_fitting_once():
    values, columns = random_values(24 * 14), calendar(14)
    profile = make_profile()
    profile.fit(values, columns)
    once = {name: buffer.clone() for name, buffer in profile.state_dict().items()}
    profile.fit(values, columns)
    for name, buffer in profile.state_dict().items():
        assert torch.equal(buffer, once[name])
