"""What only people can say of a model: one TOML file, each text in Italian and English.

    contact = "forecasts@city.example"
    [purpose]
    it = "A che cosa serve, in due frasi."
    en = "What it is for, in two sentences."

The parts are those that an algorithm register (UK ATRS) and Annex IV of Regulation (EU) 2024/1689
ask for and that no computation knows. A report lists the missing ones on its first page, and a
release whose report misses one cannot be promoted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from models.toml_file import read_model

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)]
OPTIONAL = ("partners", "electricity", "labels", "simulator")
"""Parts that a report may lack: they do not apply everywhere."""
OPTIONAL_OF_SURROGATES = ("partners", "electricity", "labels", "legal_basis")
"""The same of surrogates: a simulator's answers are no personal data, and it needs vouching for."""


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(_Said):
    """The same thing, said in both languages."""

    it: Words
    en: Words


class Electricity(_Said):
    """Electricity that the training used, and how that is known."""

    kwh: float = Field(ge=0)
    source: Text


class About(_Said):
    """The file; every member may be left out, and is then listed as missing."""

    name: Text | None = None
    owner: Text | None = None
    contact: Words | None = None
    provider: Text | None = None
    purpose: Text | None = None
    intended_users: Text | None = None
    forbidden_uses: Text | None = None
    oversight: Text | None = None
    affected_people: Text | None = None
    benefits: Text | None = None
    risks: Text | None = None
    measures: Text | None = None
    known_limits: Text | None = None
    data_statement: Text | None = None
    simulator: Text | None = None
    """What a surrogate stands for, and what that was held to."""
    legal_basis: Text | None = None
    complaints: Text | None = None
    rollback_plan: Text | None = None
    monitoring: Text | None = None
    security: Text | None = None
    partners: Text | None = None
    electricity: Electricity | None = None
    labels: dict[str, Text] = {}
    """What columns of nodes.csv, or of the areas' table, and their texts are called."""

    def lacking(self, optional: tuple[str, ...] = OPTIONAL) -> list[str]:
        """Parts that nobody has written yet, and that may not be left out."""
        return [
            name
            for name in type(self).model_fields
            if name not in optional and getattr(self, name) is None
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without what is missing."""
        return self.model_dump(mode="json", exclude_none=True)


def read_about(path: Path | None) -> About:
    """The human-written parts; all of them are missing where there is no file.

    Raises:
        FelsinaError: naming the file, and the member at fault.
    """
    if path is None:
        return About()
    known = ", ".join(About.model_fields)
    return read_model(path, About, f"; known parts: {known}, each with it and en")
