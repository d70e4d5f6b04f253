"""The learning rate's course, that of every training."""

from __future__ import annotations

import math


def rate_share(step: int, steps: int) -> float:
    """Share of the peak at ``step`` of ``steps``: 5 % warm-up, then a cosine to zero."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))
