"""Windows cut where the model computes: the series lie there once, a batch is a gather by index.

What a window is stays with ``models.windows.WindowBuilder``; this holds what the builder says of
rows, and gathers. Its batches equal the builder's bit by bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.contracts import FloatArray, IntArray
from models.windows import WindowBuilder


class ResidentWindows:
    """Batches of training windows as tensors on a device.

    Args:
        builder: says which rows a window holds.
        device: where series and batches lie.
    """

    def __init__(self, builder: WindowBuilder, device: torch.device | str = "cpu") -> None:
        self.builder, self.device = builder, torch.device(device)
        spec = builder.spec
        self.values = self._held(builder.values)
        self.forcings = self._held(builder.forcings)
        steps = len(builder.values) + spec.horizon
        self.calendar = torch.as_tensor(builder.calendar(0, steps), device=device)
        # A row's known forcing, filled from the days before, does not depend on the window.
        rows = np.arange(-(-steps // spec.horizon) * spec.horizon).reshape(-1, spec.horizon)
        known = builder.future_forcings(rows)
        self.known = torch.as_tensor(
            known.reshape(rows.size, *known.shape[2:])[:steps], device=device
        )
        self._past = torch.arange(-spec.lookback + 1, 1, device=device)
        self._future = torch.arange(1, spec.horizon + 1, device=device)

    def _held(self, array: FloatArray) -> Tensor:
        """An array on the device with one more row, of NaN: the row of all that is missing."""
        missing = np.full((1, *array.shape[1:]), np.nan, array.dtype)
        return torch.as_tensor(np.concatenate([array, missing]), device=self.device)

    def batch(self, origins: IntArray) -> dict[str, Tensor]:
        """Windows and targets of origins [B] that are no earlier than ``lookback - 1``."""
        lags = torch.as_tensor(self.builder.lag_rows(origins), device=self.device)
        last = torch.as_tensor(origins, device=self.device)[:, None]
        past, future = last + self._past, last + self._future
        return {
            "past": _rows(self.values, past),
            "lags": _rows(self.values, lags),
            "past_forcings": _rows(self.forcings, past),
            "future_forcings": _gather(self.known, future),
            "past_calendar": _gather(self.calendar, past),
            "future_calendar": _gather(self.calendar, future),
            "target": _rows(self.values, future),
        }


def _rows(held: Tensor, index: Tensor) -> Tensor:
    """Rows of a held array; its last one for those outside."""
    missing = len(held) - 1
    inside = (index >= 0) & (index < missing)
    return _gather(held, torch.where(inside, index, missing))


def _gather(held: Tensor, index: Tensor) -> Tensor:
    """``held[index]``; a selection of whole rows is several times faster than torch's indexing."""
    return held.index_select(0, index.flatten()).reshape(*index.shape, *held.shape[1:])
