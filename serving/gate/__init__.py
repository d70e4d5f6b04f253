"""What stands before every route: keys, roles, rates, quotas, bounds, metrics and logs."""

from serving.gate.bodies import MOST_BYTES, Bodies
from serving.gate.slots import Slots

__all__ = ["MOST_BYTES", "Bodies", "Slots"]
