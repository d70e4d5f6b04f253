"""``felsina tracking sync``, ``doctor`` and ``relocate``."""

from __future__ import annotations

import os
from dataclasses import asdict

from pipelines.commands.terminal import answer, err, out, say
from pipelines.doctor import Check, diagnose
from pipelines.relocate import relocate
from pipelines.settings import held, home
from training.tracking import sync


def sync_all(json: bool) -> None:
    """Copy every offline bundle under the home folder."""
    place = home()
    with held(place / "offline" / ".lock"):
        copied = [sync(store.parent, place) for store in place.glob("offline/*/mlflow.db")]
    total = {name: sum(part[name] for part in copied) for name in ("runs", "entries", "files")}
    if json:
        answer(total)
    else:
        say(f"{total['runs']} runs: {total['entries']} entries and {total['files']} files copied")


def diagnose_all(json: bool) -> None:
    """Say what is wrong with the tracking store; exit 1 where something is."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # seven take minutes
    with err.status("looking at the tracking store"):
        checks = list(diagnose(home()))
    if json:
        answer([asdict(check) | {"ok": check.ok} for check in checks])
    else:
        _show(checks)
    if not all(check.ok for check in checks):
        raise SystemExit(1)


def relocate_one(apply: bool, json: bool) -> None:
    """Say which paths in MLflow's database change, and rewrite them with ``apply``."""
    done = relocate(home(), apply)
    if json:
        answer({"from": str(done.old), "to": str(done.new), "rows": done.rows, "applied": apply})
    elif not done.rows:
        say(f"{done.new}: its paths are where it lies; nothing to do")
    else:
        rows = ", ".join(f"{count} of {table}" for table, count in done.rows.items() if count)
        say(f"{rows}: from {done.old} to {done.new}")
        say("rewritten" if apply else "nothing is changed yet: --apply rewrites them")


def _show(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks) + 2
    for check in checks:
        state = "ok" if check.ok else "FAULT"
        out.print(f"{check.name:<{width}}{state:<7}{check.told}", markup=False)
        if not check.ok:
            out.print(f"{'':<{width}}{'do':<7}{check.remedy}", markup=False, style="bold")
