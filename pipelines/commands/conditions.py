"""What a backtest says of weather that is only forecast and of adaptive bands, for a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_CONDITIONS = {
    "observed": "as observed",
    "forecast_like": "as forecast",
    "without": "unknown",
}


def weather(report: dict[str, Any]) -> Table | None:
    """Scores by what is known of the weather; None where none is read over the horizon."""
    found = report["weather"]
    if found is None:
        return None
    title = f"felsina by what is known of its forcings, on {found['origins']} origins"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("forcings")
    for name in (f"MAE ({report['unit']})", "CRPS", "80 % coverage"):
        table.add_column(name, justify="right")
    for key, name in _CONDITIONS.items():
        s = found[key]
        table.add_row(name, f"{s['mae']:.4g}", f"{s['crps']:.4g}", f"{s['coverage_80']:.1%}")
    return table


def adaptive_line(report: dict[str, Any]) -> str:
    """Coverage and CRPS with bands that follow what came true."""
    found = report["adaptive"]
    held = ", ".join(f"{found[f'coverage_{band}']:.1%} of {band} %" for band in (50, 80, 90))
    return f"adaptive bands: coverage {held}, CRPS {found['crps']:.4g}"
