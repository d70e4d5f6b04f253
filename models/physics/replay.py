"""Steps of a simulation without the time that a GPU takes to be told of each operation.

A step on a small grid is dozens of operations, each over before the next one is asked for. Recorded
once as a CUDA graph they follow each other at once; compiled into a few kernels they also leave
most of their memory traffic out. Compiling takes seconds, so it waits until it will pay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

COMPILED_AFTER = 10_000
"""Recorded steps of a small grid that take about as long as compiling one: 2 to 11 s."""
FULL_CELLS = 2**19
"""From about here on a GPU is busy with a step's cells, and steps take longer with them."""
_WARM = 2
"""Steps taken as they are before one is recorded: what is loaded at first cannot be."""


def worth_compiling(cells: int) -> int:
    """Steps from which on compiling one pays."""
    return int(COMPILED_AFTER / (1 + cells / FULL_CELLS))


class Replayed:
    """A step without arguments; on a GPU it is recorded, then compiled and recorded anew.

    Args:
        step: changes tensors in place, with no look at their values. What it binds anew lives in
            the recording, and holds the last replay's values.
        device: where it computes.
        compiled_after: the step that is compiled first. By their number and not by the clock, so
            that a simulation ends alike each time.
    """

    def __init__(
        self, step: Callable[[], None], device: torch.device, compiled_after: float
    ) -> None:
        self.step, self.gpu = step, device.type == "cuda"
        self.taken, self.warm, self.compiled_after = 0, 0, compiled_after
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Take one step."""
        if not self.gpu:
            self.step()
            return
        self.taken += 1
        if self.taken == self.compiled_after:
            self._compile()
            return
        if self.warm < _WARM:
            self.step()
            self.warm += 1
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.step()
        self.graph.replay()

    def _compile(self) -> None:
        """Take a step compiled, and keep to it; go on as before where it cannot be."""
        compiled = torch.compile(self.step, dynamic=False, fullgraph=True)
        try:
            compiled()  # a whole graph is compiled before any of it runs
        except Exception as error:  # a node without a compiler, say
            log.warning("a simulation's step could not be compiled: %s", error)
            self()
            return
        self.step, self.warm, self.graph = compiled, 1, None
