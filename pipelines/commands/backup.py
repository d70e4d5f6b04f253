"""``felsina backup`` and ``restore``."""

from __future__ import annotations

from pathlib import Path

from pipelines.backup import backup, restore
from pipelines.commands.terminal import Stages, answer, say
from pipelines.settings import home, store_place
from serving.store import Store


def backup_all(archive: Path, json: bool) -> None:
    """Write an archive of the home folder and its store."""
    with Stages() as stages:
        store = Store(store_place())
        made = backup(home(), store, archive, lambda share: stages.progress("backup", share))
    if json:
        answer(made)
    else:
        say(
            f"{archive}: {made['rows']:,} rows of the store, {made['files']} files, "
            f"{made['bytes'] / 1e6:,.1f} MB; only you may read it"
        )


def restore_all(archive: Path, json: bool) -> None:
    """Bring an archive back into an empty home folder and store."""
    place = home()
    with Stages() as stages:
        made = restore(
            archive, place, store_place(), lambda share: stages.progress("restore", share)
        )
    if json:
        answer(made)
    else:
        say(
            f"{place}: {made['rows']:,} rows of the store, {made['files']} files, "
            f"{made['releases']} releases, each verified"
        )
