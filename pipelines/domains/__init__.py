"""The registered domains: to add one, add a folder here and its line to ``DOMAINS``."""

DOMAINS = (
    "pipelines.domains.traffic",
    "pipelines.domains.energy",
    "pipelines.domains.flood",
)
"""Packages, each with a ``DOMAIN`` (``registry.Domain``)."""
