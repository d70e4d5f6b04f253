"""What the simulators of water and slopes must reproduce."""

from __future__ import annotations

from pathlib import Path

from pipelines.domains.flood.slopes_verification import verify_slopes
from pipelines.domains.flood.water_verification import verify_water
from pipelines.domains.registry import Check


def verify(reference: Path) -> list[Check]:
    """All checks; they need no reference data, their solutions are closed."""
    return [*verify_water(), *verify_slopes()]
