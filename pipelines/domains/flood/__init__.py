"""The flood domain."""

from pipelines.domains.flood.domain import DOMAIN

__all__ = ["DOMAIN"]
