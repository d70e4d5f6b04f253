"""Verified releases of one kind under a home folder; new ones are picked up while it runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from serving.release import champions

log = logging.getLogger(__name__)
_RESCAN_SECONDS = 1.0

Loaded = TypeVar("Loaded")


class Served(Generic[Loaded]):
    """The releases to serve, by the name of their dataset or surrogate.

    Args:
        home: the ``mlruns`` folder.
        load: verifies a release folder and opens it.
        surrogates: whether surrogates are meant, and not forecasters.
    """

    def __init__(
        self, home: Path, load: Callable[[Path], Loaded], surrogates: bool = False
    ) -> None:
        self.home, self.surrogates = home, surrogates
        self._open = load
        self._folders = (str(home / "releases"), str(home / "champions"))
        self._held: dict[str, tuple[Path, Loaded]] = {}
        self._refused: dict[Path, int] = {}
        self._scan = threading.Lock()
        self._scanned = -_RESCAN_SECONDS
        self._seen: tuple[int, ...] = ()

    def champions(self) -> dict[str, Loaded]:
        """Name to its release; one that fails verification is never among them.

        One caller looks for changes, when they are ``due``; the others, and those who come while a
        release is loaded, get what is loaded. Where a new release is refused the one before it
        stays.
        """
        first = not self._held and self._scan.locked()  # they wait for what is loaded first
        if (first or self.due()) and self._scan.acquire(not self._held):
            try:
                if self.due():
                    self._look()
            finally:
                self._scan.release()
        return self.held()

    def _look(self) -> None:
        self._scanned, self._seen = time.monotonic(), self._changed()
        chosen = champions(self.home, self.surrogates)
        found = {name: self._load(name, folder) for name, folder in chosen.items()}
        self._held = {name: held for name, held in found.items() if held}

    def held(self) -> dict[str, Loaded]:
        """``champions`` as they were last seen, without a look at the disk."""
        return {name: loaded for name, (_, loaded) in self._held.items()}

    def due(self) -> bool:
        """Whether it is time to look: a pointer or a folder is new, or a second has passed."""
        late = time.monotonic() - self._scanned >= _RESCAN_SECONDS
        return late or self._changed() != self._seen

    def _changed(self) -> tuple[int, ...]:
        """When releases and pointers came or went; files are replaced there, never rewritten."""
        return tuple(changed_at(folder) for folder in self._folders)

    def _load(self, name: str, folder: Path) -> tuple[Path, Loaded] | None:
        """A release folder opened, or what was served before where it is refused."""
        held = self._held.get(name)
        if held is not None and held[0] == folder:
            return held
        changed = folder.stat().st_mtime_ns if folder.exists() else 0
        if self._refused.get(folder) == changed:
            return held
        try:
            return folder, self._open(folder)
        except Exception as error:
            log.error("%s is not served: %s", folder.name, error)
            self._refused[folder] = changed
            return held


def changed_at(path: str) -> int:
    """When a file or folder changed, in ns since 1970; 0 where there is none."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 (each request asks; a path takes thrice)
    except FileNotFoundError:
        return 0
