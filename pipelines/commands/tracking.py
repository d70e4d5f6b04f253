"""``felsina tracking sync``."""

from __future__ import annotations

from pipelines.commands.terminal import answer, say
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
