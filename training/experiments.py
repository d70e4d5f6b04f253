"""The experiments folder: drawn scenarios and what a simulator answered, for a surrogate to learn.

``experiments.json`` holds the spec and how the runs were made; ``scalars.npy`` [S, F],
``fields.npy`` [S, P, C] and ``target.npy`` [S, A, O] the runs, ``split.npy`` [S] what each is for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import FelsinaError, FloatArray
from models.record import canonical_json, sha256_file
from models.scenario import CALIBRATION, STOPPING, TRAIN, ScenarioSpec

RECORD = "experiments.json"
_ARRAYS = ("scalars", "fields", "target", "split")
_REMEDY = "make the folder anew with felsina scenario sample"


@dataclass(frozen=True)
class Experiments:
    """An experiments folder in memory.

    Attributes:
        folder: where it lies.
        spec: what was asked and answered.
        scalars: [S, F].
        fields: [S, P, C].
        target: [S, A, O], NaN where the simulator has no value.
        split: [S] ``train``, ``stopping``, ``calibration``, or the name of a test set.
        record: how it was made, and what the network needs to know of the simulator.
    """

    folder: Path
    spec: ScenarioSpec
    scalars: FloatArray
    fields: FloatArray
    target: FloatArray
    split: NDArray[np.str_]
    record: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit the spec, or runs without a number."""
        spec, count = self.spec, len(self.split)
        places, answers = len(spec.places), len(spec.answered)
        shapes = {
            "scalars": (count, len(spec.scalars)),
            "fields": (count, places, len(spec.fields)),
            "target": (count, answers, len(spec.outputs)),
        }
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values.shape != shape or values.dtype.kind != "f":
                raise FelsinaError(
                    f"{self.folder / name}.npy is {values.dtype} {values.shape}, not floats "
                    f"{shape}; {_REMEDY}"
                )
            known = np.isfinite(values) | (np.isnan(values) & (name == "target"))
            if not known.all():
                rows = np.flatnonzero(~known.reshape(count, -1).all(axis=1))
                raise FelsinaError(
                    f"{self.folder / name}.npy: no number in runs {rows[:3].tolist()}; {_REMEDY}"
                )
        for name in (TRAIN, STOPPING, CALIBRATION):
            if name not in self.split:
                raise FelsinaError(f"{self.folder / 'split'}.npy: no run is for {name}; {_REMEDY}")

    def rows(self, split: str) -> NDArray[np.int64]:
        """The runs of a split."""
        return np.flatnonzero(self.split == split)

    @property
    def tests(self) -> list[str]:
        """Names of the test sets."""
        return sorted(set(self.split.tolist()) - {TRAIN, STOPPING, CALIBRATION})

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each file."""
        names = [RECORD, *(f"{name}.npy" for name in _ARRAYS)]
        return {name: sha256_file(self.folder / name) for name in names}


def write_experiments(folder: Path, experiments: Experiments) -> None:
    """Write a folder's files; whoever calls gives the folder its name when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _ARRAYS:
        values = getattr(experiments, name)
        kind = values.dtype if name == "split" else np.float32
        np.save(folder / f"{name}.npy", values.astype(kind), allow_pickle=False)
    record = {"spec": experiments.spec.to_dict(), "record": experiments.record}
    (folder / RECORD).write_bytes(canonical_json(record))


def is_experiments(folder: Path) -> bool:
    """Whether a folder is meant to be one."""
    return (folder / RECORD).is_file()


def open_experiments(folder: Path) -> Experiments:
    """Read an experiments folder.

    Raises:
        FelsinaError: naming the file that is missing or wrong.
    """
    path, arrays = folder / RECORD, {}
    try:
        record = json.loads(path.read_bytes())
        spec, made = ScenarioSpec.from_dict(record["spec"]), record["record"]
        for name in _ARRAYS:
            path = folder / f"{name}.npy"
            arrays[name] = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError, KeyError, TypeError, FelsinaError) as error:
        raise FelsinaError(f"{path}: {type(error).__name__}: {error}; {_REMEDY}") from error
    return Experiments(folder=folder, spec=spec, record=made, **arrays)
