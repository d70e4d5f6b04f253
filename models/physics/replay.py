"""Steps of a simulation without the time that a GPU takes to be told of each operation.

A step on a small grid is dozens of operations, each over before the next one is asked for. Recorded
once as a CUDA graph they follow each other at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


class Replayed:
    """A step without arguments; on a GPU, the second call records it and all later ones replay.

    Args:
        step: changes tensors in place, with no look at their values. What it binds anew lives in
            the recording, and holds the last replay's values.
        device: where it computes.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self.step, self.recording = step, device.type == "cuda"
        self.warm = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Take one step."""
        if not self.recording or not self.warm:  # what is loaded at first cannot be recorded
            self.step()
            self.warm = True
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.step()
        self.graph.replay()
