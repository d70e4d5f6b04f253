"""``felsina city``: the city's side of a federation."""

from __future__ import annotations

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.ledger import verify_ledger
from pipelines.commands.terminal import Stages, answer, out
from pipelines.federate import read_plan
from pipelines.settings import home
from pipelines.train import open_registered
from privacy.deployment import bundle
from privacy.deployment.city import City
from privacy.deployment.plan import Terms
from privacy.deployment.service import serve_run
from privacy.population import BudgetKey


def city_folder(folder: Path | None) -> Path:
    """The folder that was named, else the home's."""
    return folder or home() / "city"


def init(folder: Path | None, name: str, address: str, plan: Path, like: Path) -> None:
    """Make keys, authority, ledger and bundle."""
    opened = open_registered(like)
    read = read_plan(plan, opened)
    city = City.create(city_folder(folder), name, address, read, read.initial(opened.graph))
    out.print(f"{city.folder}: city {name}, federation {read.federation}, partners reach {address}")
    out.print(f"public key of ledger and invitations: {city.folder / 'city.key.pub'}")
    out.print(f"bundle {city.bundle_sha256}, which partners pin:")
    for file, digest in bundle.contents((city.folder / "bundle.fab").read_bytes()).items():
        out.print(f"  {digest[:16]}  {file}", markup=False)
    out.print(f"{city.folder} holds private keys: back it up, and keep it from others")


def invite(
    folder: Path | None,
    partner: str,
    agreement: Path,
    units: int,
    purposes: list[str],
    until: str,
    epsilon: float | None,
    delta: float | None,
    file: Path | None,
) -> None:
    """Write an invitation."""
    city = City(city_folder(folder))
    path = file or Path(f"{partner}.invitation")
    if path.exists():
        raise FelsinaError(f"{path} exists; take it away, or name another with --out")
    try:
        text = agreement.read_text()
        ends = date.fromisoformat(until)
    except (OSError, ValueError) as error:
        raise FelsinaError(f"{error}; give a text file and a day such as 2027-12-31") from error
    private = city.plan.private
    terms = Terms(
        unit=private.unit if private else "meter",  # pyright: ignore[reportArgumentType]
        units=units,
        epsilon=(private.epsilon if private else 0.0) if epsilon is None else epsilon,
        delta=delta if delta is not None else 1 / (10 * units),
        purposes=tuple(purposes),
        until=ends,
    )
    content = city.invite(partner, text, terms)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    out.print(f"{path}: for {partner}; it lets one key in, so send it as you would a password")


def run_rounds(
    folder: Path | None, run: str, wait_s: float, listen: str, after: str, json: bool
) -> None:
    """Let partners in and run the rounds to their end."""
    city = City(city_folder(folder))
    with Stages() as stages:
        stages.begin(city.plan.federation, f"run {run}, partners reach {city.address}")
        said = [""]

        def told(text: str, share: float) -> None:
            stages.progress(f"{city.plan.rounds.rounds} rounds", share)
            if text != said[0]:
                stages.say(text)
                said[0] = text

        ended = serve_run(city, run, told, wait_s, listen, after)
    if json:
        answer(ended)
        return
    out.print(f"run {run}: {ended['rounds']} rounds, model in {city.folder / 'runs' / run}")
    if ended["reason"]:
        out.print(f"stopped: {ended['reason']}")
    out.print(f"the last model was taken by {', '.join(ended['given_to']) or 'nobody'}")


def demo(folder: Path | None) -> None:
    """Run the demonstration, then show what it left in the ledger."""
    from pipelines.demo import PARTNERS, watch  # the other commands do without pandas

    place = folder or Path(tempfile.mkdtemp(prefix="felsina-federation-")) / "demo"
    if place.exists():
        raise FelsinaError(f"{place} exists; name a new folder")
    watch(place, lambda text: out.print(text, markup=False))
    city, house = place / "city", place / PARTNERS[0] / "house"
    receipts = sorted((house / "receipts").iterdir())
    out.print(f"7. felsina privacy ledger verify, with {PARTNERS[0]}'s {len(receipts)} receipts")
    verify_ledger(city / "ledger.jsonl", str(city / "city.key.pub"), receipts, False)
    out.print(f"8. {PARTNERS[0]}'s own account of the same steps")
    own = str(house / "partner.key.pub")
    verify_ledger(house / "account.jsonl", own, [], False)
    out.print(f"all of it lies in {place}")


def show_status(folder: Path | None, json: bool) -> None:
    """Whom was invited, who joined, what is spent, which runs there are."""
    city = City(city_folder(folder))
    ledger = city.ledger()
    rows: list[dict[str, Any]] = []
    for member in city.members():
        row: dict[str, Any] = {
            "partner": member.partner,
            "state": member.state,
            "units": member.terms.units,
            "until": member.terms.until.isoformat(),
        }
        if city.plan.private and member.enrolled:
            key = BudgetKey(member.partner, member.enrolled.dataset, member.terms.unit)
            row |= {"epsilon": ledger.epsilon(key).pld, "budget": member.enrolled.terms.epsilon}
        rows.append(row)
    runs = sorted(path.name for path in (city.folder / "runs").glob("*") if path.is_dir())
    if json:
        answer({"city": city.name, "address": city.address, "partners": rows, "runs": runs})
        return
    table = Table(box=None, pad_edge=False)
    for name in ("partner", "state", "units", "until", "spent epsilon", "budget"):
        table.add_column(name)
    for row in rows:
        spent = [f"{row['epsilon']:.4f}", f"{row['budget']:g}"] if "epsilon" in row else ["", ""]
        table.add_row(row["partner"], row["state"], str(row["units"]), row["until"], *spent)
    out.print(table)
    out.print(f"runs: {', '.join(runs) or 'none'}")


def withdraw(folder: Path | None, partner: str, reason: str) -> None:
    """Record that a partner leaves."""
    city = City(city_folder(folder))
    city.withdraw(partner, reason or None)
    out.print(
        f"{partner} withdrew: nothing more is asked of it or charged to it; what was spent stays "
        "spent, and models that were trained with it stay as they are"
    )
