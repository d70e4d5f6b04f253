"""What a killed private run needs to go on: key, weights, optimiser, and how far it was charged.

The count of charged steps is written to disk after each charge and before the step is formed: at
worst one step is asked for twice, under the same number, and none is used that was not charged.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.contracts import FelsinaError
from training.checkpoint import SUFFIX, read, write

CHECKPOINT, CHARGED = f"private{SUFFIX}", "charged"
_NAME_BYTES = 4


@dataclass(frozen=True)
class RunState:
    """A run between two steps.

    Attributes:
        key: of the secret draws; gone once the run is finished.
        name: what the ledger calls this draw of the run. It is made and lost together with the
            key: other noise on the same settings and data is another run, and is paid for anew.
        steps: that the weights hold.
        charged: steps that were charged; those beyond ``steps`` are drawn again alike.
        weights: [P], empty before the first checkpoint.
        optimiser: its state.
        finished: whether nothing is left to do.
    """

    key: bytes
    name: str = ""
    steps: int = 0
    charged: int = 0
    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    optimiser: dict[str, Any] = field(default_factory=dict)
    finished: bool = False


class PrivateRun:
    """A run's folder, readable by its owner alone.

    Args:
        work: the folder.
        about: digest of settings and data: the same noise on other data would give both away.
    """

    def __init__(self, work: Path, about: str) -> None:
        self.work, self.about = work, about

    def open(self, key: Callable[[], bytes]) -> RunState:
        """What is there, or a new run with a new key, whose state is written first.

        Raises:
            FelsinaError: when the folder holds a run of other settings or data.
        """
        self.work.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = self.recorded()
        if state is None:
            self.charged(0)
            state = RunState(key(), secrets.token_hex(_NAME_BYTES))
            self.save(state)
        return state

    def recorded(self) -> RunState | None:
        """What is there; None where nothing is.

        Raises:
            FelsinaError: as ``open`` does.
        """
        path = self.work / CHECKPOINT
        if not path.exists():
            return None
        try:
            held = read(path)
            about, charged = held.pop("about"), int((self.work / CHARGED).read_text())
            state = RunState(**held | {"key": bytes(held["key"].tolist())})
        except Exception as error:
            raise FelsinaError(
                f"{path} cannot be read ({type(error).__name__}); what it was charged stays "
                "charged: remove the folder to start anew"
            ) from error
        if about != self.about:
            raise FelsinaError(
                f"{self.work} holds a run of other settings or data; the same noise on both would "
                "give the difference away: finish that one, or take another folder"
            )
        return replace(state, charged=max(charged, state.steps))

    def charged(self, steps: int) -> None:
        """So many steps were charged."""
        self._replace(CHARGED, lambda part: part.write_text(str(steps)))

    def save(self, state: RunState) -> None:
        """Write a checkpoint whole."""
        held = {
            "about": self.about,
            "key": torch.tensor(list(state.key), dtype=torch.uint8),
            "name": state.name,
            "steps": state.steps,
            "charged": state.charged,
            "weights": state.weights,
            "optimiser": state.optimiser,
            "finished": state.finished,
        }
        self._replace(CHECKPOINT, lambda part: write(held, part))

    def _replace(self, name: str, write: Callable[[Path], Any]) -> None:
        part = self.work / f".{name}.part"
        part.touch(mode=0o600)
        write(part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(self.work / name)
