"""The water solver against published flows."""

import numpy as np
import pytest

from pipelines.domains.flood.analytic import (
    Bowl,
    bump_bed_m,
    bump_depth_m,
    channel_bed_m,
    channel_depth_m,
    dam_break_m,
)
from pipelines.domains.flood.water_verification import verify_water


@pytest.mark.slow
def test_published_flows_are_reproduced():
    checks = verify_water()
    cases = " ".join(check.case for check in checks)
    for case in ("ritter", "stoker", "lake at rest", "thacker", "bump", "macdonald", "mass"):
        assert case in cases
    assert [f"{c.case}: {c.quantity} {c.value}" for c in checks if not c.ok] == []


def test_dam_breaks_keep_the_water():
    x = np.linspace(-100, 100, 20001)
    for before in (0.0, 0.1, 0.5):
        depth = dam_break_m(x, 10.0, 1.0, before)
        assert np.trapezoid(depth, x) == pytest.approx(100 + 100 * before, rel=1e-3)
    assert dam_break_m(np.zeros(1), 10.0, 1.0, 0.0) == pytest.approx(4 / 9)


def test_flow_over_the_bump_keeps_its_head():
    x = np.linspace(0.05, 24.95, 250)
    for flow, below in ((4.42, 2.0), (1.53, None)):
        depth = bump_depth_m(x, flow, below)
        head = depth + flow**2 / (2 * 9.81 * depth**2) + bump_bed_m(x)
        np.testing.assert_allclose(head, head[0], rtol=1e-6)
    jumped = bump_depth_m(x, 0.18, 0.33)
    assert jumped.min() < 0.1  # SWASHES' figure: .08 m before the jump
    assert x[np.argmax(np.diff(jumped))] == pytest.approx(11.66, abs=0.1)


def test_the_channel_is_steady():
    x = np.linspace(0, 999, 1000)
    bed, depth = channel_bed_m(x), channel_depth_m(x)
    energy = bed + depth + 2.0**2 / (2 * 9.81 * depth**2)
    friction = (0.033 * 2.0) ** 2 / depth ** (10 / 3)
    np.testing.assert_allclose(-np.gradient(energy, x)[1:-1], friction[1:-1], rtol=1e-3)


def test_water_in_the_bowl_is_as_much_as_at_rest():
    at = (np.arange(800) + 0.5) / 200 - 2
    x, y = np.meshgrid(at, at)
    bowl = Bowl()
    rest = np.maximum(-bowl.bed_m(x, y), 0).sum()
    assert bowl.curved_m(x, y).sum() == pytest.approx(rest, rel=1e-3)
    assert bowl.planar_m(x, y).sum() == pytest.approx(rest, rel=1e-3)
