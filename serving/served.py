"""Verified releases of one kind under a home folder; new ones are picked up while it runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from models.contracts import FelsinaError
from serving.approvals import Allowed, Approvals, Choice
from serving.release import INPUTS, Approval, champions, releases

log = logging.getLogger(__name__)
_RESCAN_SECONDS = 1.0
_LOADING_SECONDS = 10.0
"""How long a request waits for a release that is being loaded."""


class NotFound(FelsinaError):
    """What was asked for is not served or not held."""


class Withheld(FelsinaError):
    """What was asked for is there, and the board does not let it be served."""


class Opened(Protocol):
    """A release that was verified and opened."""

    @property
    def sha256(self) -> str:
        """Of its manifest."""
        ...

    @property
    def approval(self) -> Approval:
        """What stands behind it."""
        ...

    def under(self, approval: Approval) -> Self:
        """The same under another approval."""
        ...


Loaded = TypeVar("Loaded", bound=Opened)


class Served(Generic[Loaded]):
    """The releases to serve, by the name of their dataset or surrogate.

    Args:
        home: the ``mlruns`` folder.
        load: verifies a release folder and opens it.
        surrogates: whether surrogates are meant, and not forecasters.
        approvals: of the ethics board; without, what the home's pointers name is served.

    Attributes:
        withheld: name to why nothing of it is served.
    """

    def __init__(
        self,
        home: Path,
        load: Callable[[Path], Loaded],
        surrogates: bool = False,
        approvals: Approvals | None = None,
    ) -> None:
        self.home, self.surrogates, self.approvals = home, surrogates, approvals
        self.withheld: dict[str, str] = {}
        self._open = load
        self._folders = [str(home / "releases"), str(home / "champions")]
        if approvals is not None:
            self._folders[1] = str(approvals.folder)
        self._held: dict[str, tuple[Path, Loaded]] = {}
        self._refused: dict[Path, int] = {}
        self._scan = threading.Lock()
        self._scanned = -_RESCAN_SECONDS
        self._seen: tuple[int, ...] = ()

    def champions(self) -> dict[str, Loaded]:
        """Name to its release; one that fails verification is never among them.

        One caller looks for changes, when they are ``due``; the others, and those who come while a
        release is loaded, get what is loaded. Where a new release is refused the one before it
        stays, if the board still approves of it.
        """
        first = not self._held and self._scan.locked()  # they wait for what is loaded first
        if (first or self.due()) and self._scan.acquire(not self._held):
            try:
                if self.due():
                    self._look()
            finally:
                self._scan.release()
        return self.held()

    def get(self, name: str) -> Loaded:
        """The release that is served under a name.

        Raises:
            Withheld: if the board does not let any be served.
            NotFound: if there is none.
        """
        found = self.champions()
        if name not in found and self._scan.acquire(timeout=_LOADING_SECONDS):
            self._scan.release()  # what it falls back to was being loaded
            found = self.held()
        if name in found:
            return found[name]
        if why := self.withheld.get(name):
            raise Withheld(f"{name} is not served: {why}")
        kind = "surrogate" if self.surrogates else "release of dataset"
        raise NotFound(f"no {kind} {name!r} is served; served: {', '.join(found) or 'none'}")

    def not_served(self) -> list[dict[str, str]]:
        """Names that the board does not let be served, with why."""
        return [{"name": name, "detail": why} for name, why in self.withheld.items()]

    def release(self, name: str) -> Loaded | None:
        """A release by its id, of those that are served or may be fallen back to; else None.

        Raises:
            NotFound: if it is not intact.
        """
        dataset = name.rpartition("-")[0]
        if self.approvals is None:
            allowed = tuple(Allowed(folder) for folder in releases(self.home))
        else:
            allowed = self.approvals.choices().get(dataset, Choice()).allowed
        for one in allowed:
            if one.folder.name == name and self._is_mine(one.folder):
                if (loaded := self._load(dataset, one)) is None:
                    raise NotFound(f"release {name} is not intact; build it anew")
                return loaded[1]
        return None

    def _look(self) -> None:
        self._scanned, self._seen = time.monotonic(), self._changed()
        choices = self._pointed() if self.approvals is None else self._approved(self.approvals)
        if self.approvals is not None:  # before anything of the disk is read
            self._held = {n: one for n, one in self._held.items() if _stands(choices.get(n), one)}
        found: dict[str, tuple[Path, Loaded]] = {}
        withheld: dict[str, str] = {}
        for name, choice in choices.items():
            tried = (self._load(name, one) for one in choice.allowed)
            loaded = next((one for one in tried if one is not None), None)
            if loaded is None and self.approvals is None:
                loaded = self._held.get(name)
            if loaded is not None:
                found[name] = loaded
            elif self.approvals is not None:
                broken = [f"{one.folder.name} is missing or was changed" for one in choice.allowed]
                withheld[name] = "; ".join(filter(None, [choice.why, *broken]))
            if name in found and name in self._held and found[name][0] != self._held[name][0]:
                why = choice.why or "it was promoted"
                log.warning("%s is served by %s now: %s", name, found[name][0].name, why)
        for name, why in withheld.items():
            if self.withheld.get(name) != why:
                log.error("%s is not served: %s", name, why)
        self._held, self.withheld = found, withheld

    def _pointed(self) -> dict[str, Choice]:
        """What the pointers in the home name; no board decides."""
        pointed = champions(self.home, self.surrogates)
        return {name: Choice((Allowed(folder),)) for name, folder in pointed.items()}

    def _approved(self, approvals: Approvals) -> dict[str, Choice]:
        """What the board lets be served; of what lies here besides, nothing."""
        chosen = approvals.choices()
        mine = {f.name.rpartition("-")[0]: self._is_mine(f) for f in releases(self.home)}
        mine |= {n: self._is_mine(f) for n, f in approvals.promoted().items() if f.is_dir()}
        why = "nothing of it was approved by the board and promoted"
        if approvals.board is None:
            why = f"the board's decisions are not believed: {approvals.fault}"
        meant = [n for n in mine.keys() | chosen.keys() if mine.get(n, not self.surrogates)]
        return {name: chosen.get(name, Choice(why=why)) for name in sorted(meant)}

    def _is_mine(self, folder: Path) -> bool:
        return (folder / INPUTS).is_file() == self.surrogates

    def held(self) -> dict[str, Loaded]:
        """``champions`` as they were last seen, without a look at the disk."""
        return {name: loaded for name, (_, loaded) in self._held.items()}

    def due(self) -> bool:
        """Whether it is time to look: a pointer or a folder is new, or a second has passed."""
        late = time.monotonic() - self._scanned >= _RESCAN_SECONDS
        return late or self._changed() != self._seen

    def _changed(self) -> tuple[int, ...]:
        """When releases and decisions came or went; files are replaced there."""
        return tuple(changed_at(folder) for folder in self._folders)

    def _load(self, name: str, allowed: Allowed) -> tuple[Path, Loaded] | None:
        """A release opened under its approval; None where it is refused."""
        held, folder = self._held.get(name), allowed.folder
        sealed = allowed.manifest_sha256
        if held is not None and held[0] == folder and sealed in (None, held[1].sha256):
            if held[1].approval == allowed.approval:
                return held
            return folder, held[1].under(allowed.approval)
        changed = _changed_in(folder)
        if self._refused.get(folder) == changed:
            return None
        try:
            loaded = self._open(folder)
            if sealed not in (None, loaded.sha256):
                raise FelsinaError(
                    f"its manifest's sha256 is {loaded.sha256}, and the board has approved {sealed}"
                )
        except Exception as error:
            log.error("%s is not served: %s", folder.name, error)
            self._refused[folder] = changed
            return None
        return folder, loaded.under(allowed.approval)


def _stands(choice: Choice | None, held: tuple[Path, Opened]) -> bool:
    """Whether a release that is held may still be served."""
    allowed = () if choice is None else choice.allowed
    return any(one.folder == held[0] and one.manifest_sha256 == held[1].sha256 for one in allowed)


def _changed_in(folder: Path) -> int:
    """When a folder or a file in it changed last, so that what is mended is tried again."""
    try:
        paths = [folder, *folder.glob("*")]
    except OSError:
        return 0
    return max((changed_at(str(path)) for path in paths), default=0)


def changed_at(path: str) -> int:
    """When a file or folder changed, in ns since 1970; 0 where there is none to be seen."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 (each request asks; a path takes thrice)
    except OSError:
        return 0
