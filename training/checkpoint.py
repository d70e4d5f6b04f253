"""Files of weights and of a training's state that hold no pickle: safetensors, and JSON beside.

Reading a pickle is running a program; torch's reader of "weights only" restricts that program and
has been broken out of (CVE-2025-32434). Here a file is numbers with names, and a text that says
how they hang together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor

from models.contracts import FelsinaError

SUFFIX = ".safetensors"
_TREE = "tree"


def write(tree: Any, path: Path) -> None:
    """Write a tree of dicts, lists and tuples over tensors and plain values.

    Args:
        tree: for instance a ``state_dict``, whose names the file then has.
        path: replaced in place, so that it keeps its mode.

    Raises:
        FelsinaError: if something else is in it.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_plain(tree, "", tensors), separators=(",", ":"))
    path.write_bytes(safetensors.torch.save(tensors, {_TREE: text}))


def read(path: Path) -> Any:
    """The tree of a file, its tensors on the CPU.

    Raises:
        FelsinaError: if the file is none of ``write``, or is cut.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return _tree(json.loads(file.metadata()[_TREE]), tensors)
    except (OSError, safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
        raise FelsinaError(
            f"{path}: no file of weights ({type(error).__name__}: {error}); make it again"
        ) from error


class Checkpoints(CheckpointIO):
    """Lets Lightning write and read its checkpoints as such files, each replaced by a rename."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint: never half of it."""
        part = Path(path).with_name(f".{Path(path).name}.part")
        write(checkpoint, part)
        part.replace(path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; Lightning moves what it takes from it to where it is needed."""
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint that another replaced."""
        Path(path).unlink(missing_ok=True)


def _plain(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold of a value; its tensors are gathered under their place in the tree."""
    below = f"{name}/" if name else ""
    if isinstance(value, Tensor):
        if not name or name in tensors:  # {"a/b": one, "a": {"b": another}}
            name = f"{name}#{len(tensors)}"
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[k, _plain(v, f"{below}{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_plain(v, f"{below}{n}", tensors) for n, v in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise FelsinaError(f"{name}: a {type(value).__name__} has no place in a file of weights")


def _tree(told: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(told, dict):
        return told
    ((kind, held),) = told.items()
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {key: _tree(value, tensors) for key, value in held}
    return (tuple if kind == "tuple" else list)(_tree(value, tensors) for value in held)
