"""The water solver beside ANUGA: dam breaks of known depth, and flows that nobody knows."""

import pytest

pytest.importorskip("anuga", reason="the extra [referee] is not installed", exc_type=ImportError)

from benchmarks.referee import (
    breach_wave,
    circular_dam,
    csi,
    dam_break,
    mae_m,
    off,
    ours,
    referee,
)


@pytest.mark.parametrize("before_m", [0.0, 0.1])
def test_dam_breaks_are_the_known_ones_and_alike(before_m: float) -> None:
    case, exact = dam_break(before_m)
    judge, found = referee(case).depth_m, ours(case, "muscl").depth_m
    assert off(judge, exact) <= 0.003
    assert off(found, exact) <= 0.003
    assert off(found, judge) <= 0.003


@pytest.mark.parametrize("before_m", [0.0, 0.5])
def test_a_circular_dam_breaks_alike(before_m: float) -> None:
    case = circular_dam(before_m)
    judge, found = referee(case), ours(case, "muscl")
    assert csi(found.depth_m, judge.depth_m, 0.1) >= 0.95
    assert csi(found.depth_m, judge.depth_m, 0.3) >= 0.95
    assert mae_m(found.depth_m, judge.depth_m) <= 0.01
    assert found.volume_m3 == pytest.approx(judge.volume_m3, rel=1e-6)


@pytest.mark.slow
def test_a_breach_wave_on_a_plain_is_alike() -> None:
    case = breach_wave()
    judge = referee(case)
    for scheme, least, most_m in (("muscl", 0.95, 0.03), ("local_inertial", 0.85, 0.12)):
        found = ours(case, scheme)
        for depth in (0.1, 0.3):
            assert csi(found.most_m, judge.most_m, depth) >= least
        assert mae_m(found.most_m, judge.most_m) <= most_m
        assert found.volume_m3 == pytest.approx(judge.volume_m3, rel=1e-6)
