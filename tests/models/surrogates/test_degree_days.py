"""Degree days from a climate's description: those of its hours, whatever the base."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.surrogates.degree_days import Excess, Shortfall
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.climate import FIELDS, monthly_climate
from pipelines.domains.energy.weather import embedded_weather

YEAR = embedded_weather()
CLIMATE = torch.as_tensor(monthly_climate(YEAR, Assumptions()))[None]
MONTH = YEAR.times.month.to_numpy()


@pytest.mark.parametrize("sun_k", [0.0, 0.012, 0.02, 0.035])
def test_excess_is_what_the_hours_amount_to(sun_k: float) -> None:
    """Between the table's places too."""
    bases = torch.linspace(15, 40, 26)
    given = bases[:, None, None].expand(-1, 12, 1), CLIMATE, torch.tensor([[sun_k]])
    found = Excess(list(FIELDS), ("hours",)).at(*given)
    walls = YEAR.irradiance_w_m2[:, :4].mean(axis=1)
    for number in (4, 7):
        rows = number == MONTH
        warm = YEAR.outdoor_c[rows] + sun_k * (walls[rows] - walls[rows].mean())
        exact = np.maximum(warm - bases.numpy()[:, None], 0).mean(axis=1)
        np.testing.assert_allclose(found[:, number - 1, 0], exact, atol=0.06)


def test_shortfall_is_what_the_hours_amount_to_and_rises() -> None:
    bases = torch.linspace(-12, 30, 85)
    found = Shortfall(list(FIELDS), ("hours",)).at(bases[:, None, None].expand(-1, 12, 1), CLIMATE)
    assert (found.diff(dim=0) >= 0).all()
    january = YEAR.outdoor_c[MONTH == 1]
    for base in (0.0, 8.0, 20.0):  # places of the table
        exact = np.maximum(base - january, 0).mean()
        assert found[int((base + 12) * 2), 0, 0] == pytest.approx(exact, abs=1e-4)
