"""The traffic domain."""

from pipelines.domains.traffic.domain import DOMAIN

__all__ = ["DOMAIN"]
