"""What the sources of hourly counts have in common (``bologna_loops``, ``regional_counts``)."""

from __future__ import annotations

from typing import Any

TIMEZONE = "Europe/Rome"
HEADER: dict[str, Any] = {
    "domain": "traffic",
    "target": "flow",
    "unit": "veh/h",
    "step": "1h",
    "timezone": TIMEZONE,
    "lookback": 168,
    "horizon": 24,
    "nonnegative": True,
}
