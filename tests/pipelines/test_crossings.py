"""The tables of crossings and sums that ``felsina backtest`` shows."""

from rich.console import Console

from pipelines.commands.crossings import crossings, joint_line
from tests.fixtures.tiny import Tiny


def shown(report: dict) -> list[str]:
    """Rows below the head."""
    console = Console(width=100)
    with console.capture() as capture:
        console.print(crossings(report))
    lines = capture.get().splitlines()
    head = next(n for n, line in enumerate(lines) if line.split()[:2] == ["threshold", "events"])
    return lines[head + 1 :]


def test_every_level_and_lead_has_a_row(tiny: Tiny) -> None:
    rows = shown(tiny.report)
    assert [row.split()[0] for row in rows] == ["p95"] * 5
    assert [row.split()[2] for row in rows] == ["1", "2", "3", "6", "any"]
    level = tiny.report["threshold_events"]["p95"]
    assert f"{level['leads']['within_horizon']['brier']:.3f}" in rows[-1]
    assert f"{level['warnings']['pod']:.2f}" in rows[-1]


def test_the_sum_has_a_line_where_there_is_one(tiny: Tiny) -> None:
    covered = tiny.report["joint"]["city_sum"]["template"]["coverage_80"]
    assert f"covers {covered:.1%}" in joint_line(tiny.report)
    assert joint_line(tiny.report | {"joint": None}) == ""


def test_a_report_without_members_or_cases_is_shown(tiny: Tiny) -> None:
    level = dict(tiny.report["threshold_events"]["p95"], warnings=None)
    leads = {"1": level["leads"]["1"], "6": {"cases": 0}}
    report = tiny.report | {"threshold_events": {"p95": level | {"leads": leads}}}
    rows = shown(report)
    assert [row.split()[2] for row in rows] == ["1"]
    assert shown(tiny.report | {"threshold_events": {}}) == []
