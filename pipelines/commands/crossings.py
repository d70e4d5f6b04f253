"""What a backtest says of thresholds crossed and of sums, for a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_REFERENCES = ("climatology", "persistence")


def crossings(report: dict[str, Any]) -> Table:
    """Threshold levels by lead: Brier score, skills, warnings."""
    table = Table(
        title="thresholds: Brier score, its skill on climatology / persistence, and warnings",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    table.add_column("threshold", no_wrap=True)
    for name in ("events", "lead", "Brier, 90 %", "skill", "POD", "FAR", "ahead"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, level in report["threshold_events"].items():
        for lead, scores in sorted(level["leads"].items(), key=lambda item: item[0].zfill(9)):
            if not scores["cases"]:
                continue
            last = lead == "within_horizon"
            warned = level["warnings"] if last else {}
            hours = warned.get("lead_time_h")
            table.add_row(
                name,
                str(level["events"]),
                "any" if last else lead,
                f"{scores['brier']:.3f}" + _between(scores["brier_90"]),
                " / ".join(_number(scores[f"skill_{to}"]) or "-" for to in _REFERENCES),
                *(_number(warned.get(key)) for key in ("pod", "far")),
                "" if hours is None else f"{hours:.1f} h",
            )
    return table


def joint_line(report: dict[str, Any]) -> str:
    """How well the band of the sum over nodes holds; empty where there is no such sum."""
    sums = (report["joint"] or {}).get("city_sum")
    if not sums:
        return ""
    held = {name: f"{scores['coverage_80']:.1%}" for name, scores in sums.items()}
    return (
        f"sum over nodes: the 80 % band of joint members covers {held['template']} "
        f"(independent nodes {held['independent']}, all alike {held['comonotone']})"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else " [{:.3f}, {:.3f}]".format(*interval)
