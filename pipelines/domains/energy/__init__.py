"""The energy domain."""

from pipelines.domains.energy.domain import DOMAIN

__all__ = ["DOMAIN"]
