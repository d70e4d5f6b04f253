"""A sealed surrogate in ONNX Runtime: verified, asked, and refused what it was not trained on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from models.contracts import FelsinaError, FloatArray
from models.exported import ONE_OR_ALL, open_session
from models.record import sha256_bytes
from models.scenario import ScenarioSpec
from serving.release import INPUTS, MANIFEST, MODEL, REPORT, UNDECIDED, Approval, verified

FILES = (MODEL, INPUTS, REPORT)
"""What the manifest of a surrogate seals."""
_BATCH = 200
"""Scenarios at a time: what they need stays near the processor."""


@dataclass(frozen=True)
class SurrogateRelease:
    """A verified surrogate.

    Attributes:
        folder: where it lies; its name is the release's id.
        manifest: what it says of itself.
        sha256: digest of the manifest's bytes, which decisions sign.
        spec: what it is asked and answers.
        report: its errors against the simulator.
        approval: what stands behind it.
        graph: bytes of its ONNX graph, as they were verified; else those of its file.
    """

    folder: Path
    manifest: dict[str, Any]
    sha256: str
    spec: ScenarioSpec
    report: dict[str, Any]
    approval: Approval = UNDECIDED
    graph: bytes | None = field(repr=False, compare=False, default=None)

    @property
    def id(self) -> str:
        """Name of the release."""
        return self.folder.name

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The graph, opened once."""
        return open_session(self.folder / MODEL if self.graph is None else self.graph)

    def under(self, approval: Approval) -> SurrogateRelease:
        """The same with what stands behind it now; the graph stays open."""
        other = copy(self)
        object.__setattr__(other, "approval", approval)
        return other

    def answer(self, scalars: FloatArray, fields: FloatArray, threads: int = 1) -> FloatArray:
        """Quantiles [B, A, O, Q] of scenarios [B, F] and [B, P, C], whatever their range."""
        return ask(self.session, scalars, fields, threads)


def ask(
    session: onnxruntime.InferenceSession,
    scalars: FloatArray,
    fields: FloatArray,
    threads: int = 1,
) -> FloatArray:
    """Quantiles [B, A, O, Q] by a surrogate's graph.

    Several threads take batches side by side, which shares small products better than each
    product's own threads would. Fields that ``np.broadcast_to`` made of one scenario's are given
    once, where the graph knows what to do with them.
    """
    ones = {node.name for node in session.get_inputs() if node.shape[0] == ONE_OR_ALL}
    shared = "fields" in ones and fields.strides[0] == 0
    if shared:
        fields = np.asarray(fields[:1], np.float32)

    def part(begin: int) -> FloatArray:
        rows = slice(begin, begin + _BATCH)
        inputs = {"scalars": scalars[rows], "fields": fields if shared else fields[rows]}
        given = {name: np.asarray(value, np.float32) for name, value in inputs.items()}
        return np.asarray(session.run(None, given)[0])

    begins = range(0, len(scalars), _BATCH)
    if threads == 1 or len(begins) == 1:
        return np.concatenate([part(begin) for begin in begins])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(part, begins)))


def load_surrogate(folder: Path) -> SurrogateRelease:
    """Verify a surrogate's folder and read it.

    Raises:
        FelsinaError: naming the file that is missing, extra or changed.
    """
    if not (folder / INPUTS).is_file():
        raise FelsinaError(f"{folder / INPUTS} is missing; {folder} is no surrogate's release")
    manifest, contents, name = verified(
        folder, lambda manifest: FILES, lambda manifest: str(manifest["dataset"])
    )
    try:
        spec = ScenarioSpec.from_dict(json.loads(contents[INPUTS]))
    except (ValueError, FelsinaError) as error:
        raise FelsinaError(f"{folder / INPUTS}: {error}; build the release anew") from error
    if spec.name != name:
        raise FelsinaError(f"{folder / INPUTS} is that of {spec.name}, not of {name}")
    report, sha256 = json.loads(contents[REPORT]), sha256_bytes(contents[MANIFEST])
    return SurrogateRelease(folder, manifest, sha256, spec, report, graph=contents[MODEL])
