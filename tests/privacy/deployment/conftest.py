"""A city with a plan, and partners with households or with public buildings."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from models.record import canonical_json
from models.signing import create_key, public_hex, sign_record
from privacy.deployment import certificates
from privacy.deployment.city import City
from privacy.deployment.invitation import Invitation, acceptance, read_invitation
from privacy.deployment.plan import Plan, Terms
from tests.factories import make_dataset, make_settings
from training.dataset import CityDataset, open_dataset

SHAPE = {
    "width": 8,
    "blocks": 1,
    "embedding": 2,
    "dropout": 0.0,
    "inductive": True,
    "graph": False,
    "members": 1,
}
PRIVATE = {
    "unit": "household",
    "nominal_units": 4,
    "sampling_rate": 0.5,
    "delta": 1e-3,
    "epsilon": 2.0,
    "steps": 6,
    "most_windows": 2,
    "clip_norm": 0.1,
    "optimiser": "sgd",
    "lags": (24, 168),
    "architecture": SHAPE,
}
AGREEMENT = "We train together, and nobody hands over a row.\n"


def make_terms(**changes: Any) -> Terms:
    values = {
        "unit": "household",
        "units": 4,
        "epsilon": 4.0,
        "delta": 1e-3,
        "purposes": ("forecasts of demand",),
        "until": date(2099, 12, 31),
    }
    return Terms.model_validate(values | changes)


def make_plan(
    spec: dict[str, Any], private: bool = True, inductive: bool = False, **rounds: Any
) -> Plan:
    values: dict[str, Any] = {"federation": "demo", "spec": spec, "rounds": {"rounds": 3} | rounds}
    if private:
        return Plan(**values, private=PRIVATE)  # pyright: ignore[reportArgumentType]
    shape = SHAPE | {"inductive": inductive}
    settings = make_settings(steps=12, lags=(24, 168), architecture=shape)
    return Plan(**values, training=settings, reason="meters of public buildings")


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[CityDataset]:
    """Datasets of three partners."""
    folder = tmp_path_factory.mktemp("parts")
    return [open_dataset(make_dataset(folder / f"p{k}", seed=k)) for k in range(3)]


@pytest.fixture
def city(parts: list[CityDataset], tmp_path: Path) -> City:
    return make_city(tmp_path / "city", parts[0])


def make_city(folder: Path, like: CityDataset, address: str = "localhost:1", **plan: Any) -> City:
    made = make_plan(like.spec.with_lags((24, 168)).to_dict(), **plan)
    return City.create(folder, "bologna", address, made, made.initial(like.graph))


def invitation_of(city: City, partner: str, folder: Path, **terms: Any) -> Path:
    path = folder / f"{partner}.invitation"
    path.write_bytes(city.invite(partner, AGREEMENT, make_terms(**terms)))
    return path


class Newcomer:
    """What a partner sends, made by hand so that it can be wrong."""

    def __init__(self, invitation: Path, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.invitation: Invitation = read_invitation(invitation)
        self.key = certificates.create_node_key(folder / "node.key")
        signer = folder / "partner.key"
        self.signer = create_key(signer)

    def sent(self, terms: Terms | None = None, **changes: Any) -> bytes:
        own = terms or self.invitation.terms
        accepted = sign_record(acceptance(self.invitation, own), self.signer)
        values = {
            "token": self.invitation.token,
            "request": certificates.request_of(self.key, self.invitation.partner),
            "accepted": accepted,
            "public_key": public_hex(self.signer.public_key()),
            "terms": own.model_dump(mode="json"),
            "dataset": "homes",
            "digests": {"series.parquet": self.invitation.agreement_sha256},
            "weight": 4.0,
            "sampling_rate": 0.5,
            "noise_multiplier": 6.0,
        }
        return canonical_json(values | changes)
