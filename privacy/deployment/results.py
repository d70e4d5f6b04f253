"""Files of a run in the city's folder, readable without torch or Flower."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from models.record import write_atomic
from privacy.strategy import Arrays

ENDED, STATUS, FAULT = "ended.json", "status.json", "fault.json"
MEMBERS = "members.json"
"""Who takes part, as each enrolled when the run began."""
BEGUN = "begun.json"
"""The earlier run that this one was begun from, and how many of its rounds; others have none."""


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write named arrays at once."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # pyright: ignore[reportArgumentType]
    write_atomic(path, content.getvalue())


def load_arrays(path: Path) -> Arrays:
    """Read named arrays; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
