"""The homes that docs/privacy.md begins with."""

from pathlib import Path

import numpy as np

from benchmarks.private import households
from privacy.stand_in import stand_ins


def test_households_are_the_stand_ins_as_a_folder(tmp_path: Path) -> None:
    written, made = households(tmp_path / "homes", 8, seed=2), stand_ins(8, seed=2)
    np.testing.assert_array_equal(written.values, made.values)
    assert written.splits == made.splits
    assert written.spec.forcings == made.spec.forcings
    assert set(written.graph.areas) == {"centre", "north", "hills", "plain"}
    assert written.synthetic
