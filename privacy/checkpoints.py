"""A run's folder: one file a round, written whole, and which of them have to stay.

The newest two stay, and of each partner the one before its first accepted round: the last model
that never saw it, from which a run without the partner can begin.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, write_atomic
from privacy.strategy import Arrays

_STOPPED = "stopped.json"


@dataclass(frozen=True)
class Checkpoint:
    """The model after a round.

    Attributes:
        round: how many rounds it holds.
        arrays: the model.
        told: what was decided in its last round; ``first`` has each partner that it ever saw with
            its first accepted round, ``contributed`` the sums of their contributions.
        moments: of the city's own optimiser, see ``strategy.adam_step``; empty without one.
    """

    round: int
    arrays: Arrays
    told: dict[str, Any]
    moments: Arrays = field(default_factory=dict)


class Checkpoints:
    """Keeps a run's checkpoints.

    Args:
        work: folder of the run.
        run: its name.
        key: digest of all that must not change while it runs.
    """

    def __init__(self, work: Path, run: str, key: str) -> None:
        self.work, self.run, self.key = work, run, key

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write one, and let go of those that nothing can begin from any more."""
        arrays, names = checkpoint.arrays, sorted(checkpoint.arrays)
        header = {
            "run": self.run,
            "key": self.key,
            "round": checkpoint.round,
            "told": checkpoint.told,
            "names": names,
            "moments": sorted(checkpoint.moments),
        }
        content = io.BytesIO()
        named = {f"a{i}": arrays[name] for i, name in enumerate(names)}
        named |= {f"m{i}": checkpoint.moments[name] for i, name in enumerate(header["moments"])}
        text = np.frombuffer(canonical_json(header), np.uint8)
        np.savez(content, header=text, **named)  # pyright: ignore[reportArgumentType]
        write_atomic(_path(self.work, checkpoint.round), content.getvalue())
        before = {first - 1 for first in checkpoint.told.get("first", {}).values()}
        stay = {_path(self.work, number) for number in before}
        for old in _files(self.work)[:-2]:
            if old not in stay:
                old.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """The newest round that was kept whole.

        Raises:
            FelsinaError: if the folder holds another run.
        """
        found = _files(self.work)
        if not found:
            return None
        header, checkpoint = _read(found[-1])
        if header["key"] != self.key:
            raise FelsinaError(
                f"{found[-1]}: of other settings, partners or model than run {self.run!r} now has; "
                "give the run another name, or take the folder away"
            )
        return checkpoint

    def keep_stop(self, round: int, told: dict[str, Any]) -> None:
        """Note why ``round`` is not reached, until it is written elsewhere."""
        write_atomic(self.work / _STOPPED, canonical_json({"round": round, "told": told}))

    def stop(self) -> tuple[int, dict[str, Any]] | None:
        """What ``keep_stop`` noted."""
        path = self.work / _STOPPED
        if not path.exists():
            return None
        noted = json.loads(path.read_bytes())
        return noted["round"], noted["told"]

    def forget_stop(self) -> None:
        """It is written."""
        (self.work / _STOPPED).unlink(missing_ok=True)


def kept(work: Path) -> tuple[str, list[Checkpoint]]:
    """Name of the run in a folder and its checkpoints, oldest first.

    Raises:
        FelsinaError: if there are none.
    """
    found = [_read(path) for path in _files(work)]
    if not found:
        raise FelsinaError(f"{work} holds no run's checkpoints; name the folder of one")
    return found[-1][0]["run"], [checkpoint for _, checkpoint in found]


def digest(arrays: Arrays) -> str:
    """SHA-256 over names, shapes and little-endian bytes."""
    parts = [
        [name, list(arrays[name].shape), sha256_bytes(arrays[name].astype("<f4").tobytes())]
        for name in sorted(arrays)
    ]
    return sha256_bytes(canonical_json(parts))


def to_begin_from(checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
    """The same for another run: whom the models saw, and not what the first run was to tell."""
    mine = ("first", "contributed")
    return tuple(
        replace(one, told={k: one.told[k] for k in mine if k in one.told}) for one in checkpoints
    )


def _path(work: Path, round: int) -> Path:
    return work / f"round-{round:06d}.npz"


def _files(work: Path) -> list[Path]:
    return sorted(work.glob("round-*.npz"))


def _read(path: Path) -> tuple[dict[str, Any], Checkpoint]:
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        arrays = {name: file[f"a{i}"] for i, name in enumerate(header["names"])}
        moments = {name: file[f"m{i}"] for i, name in enumerate(header["moments"])}
    return header, Checkpoint(header["round"], arrays, header["told"], moments)
