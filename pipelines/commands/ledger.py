"""``felsina privacy ledger`` and ``claim``: what was spent on whom, from the bytes."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Any

from rich.table import Table

from models.chain import Entry, verify
from models.errors import FelsinaError
from models.signing import PublicKey, key_id, load_public_key
from pipelines.commands.terminal import answer, err, out
from privacy.accounts import Accounts
from privacy.claim import claims_of, coverage, statement
from privacy.population import Population, key_of
from privacy.replay import composed, replay

_OWN = "the ledger's own, which shows edits but not who signed; name the city's with --key"


def verify_ledger(path: Path, key: str, receipts: list[Path], json: bool) -> None:
    """Verify signatures, chain, receipts, rules, budgets and claims; show every account."""
    public = _public_key(path, key)
    with err.status(f"Replaying {path}"):
        accounts = replay(path, public, receipts)
        rows = [_row(accounts, population) for population in accounts.populations()]
    if json:
        releases = [
            {"entry": c.n, "release": c.release, **c.claim.model_dump()} for c in accounts.claims
        ]
        answer(
            {
                "ledger": str(path),
                "key": key_id(public),
                "key_given": bool(key),
                "receipts": len(receipts),
                "accounts": rows,
                "releases": releases,
            }
        )
        return
    out.print(_table(rows))
    claims = f"claims of releases that agree: {len(accounts.claims)}; " if accounts.claims else ""
    out.print(f"{path}: intact; {claims}{_kept(receipts)}; key {key_id(public)}{_whose(key)}")


def show_ledger(path: Path, key: str, receipts: list[Path], json: bool) -> None:
    """Show every entry, signatures and chain verified."""
    public = _public_key(path, key)
    entries = verify(path, public, receipts)
    if json:
        answer([{"n": e.n, "time": e.time, "kind": e.kind, "body": e.body} for e in entries])
        return
    for entry in entries:
        out.print(_line(entry), markup=False)
    out.print(f"{path}: intact; {_kept(receipts)}; key {key_id(public)}{_whose(key)}")


def show_claim(path: Path, key: str, partner: str, json: bool) -> None:
    """Verify a ledger and say in two languages what it promises, and what not."""
    public = _public_key(path, key)
    with err.status(f"Replaying {path}"):
        accounts = replay(path, public)
        claims = claims_of(accounts, partner)
        covered = coverage(accounts, claims)
        said = statement(claims, covered)
    if json:
        rows = [{**claim.model_dump(), **vars(covered[key_of(claim)])} for claim in claims]
        answer(
            {"ledger": str(path), "key": key_id(public), "key_given": bool(key)}
            | {"claims": rows, "statement": said.to_dict()}
        )
        return
    for text, title, lines in (
        (said.en, "Not protected:", said.not_protected_en),
        (said.it, "Non è protetto:", said.not_protected_it),
    ):
        out.print(text, markup=False)
        out.print(f"\n{title}")
        for line in lines:
            out.print(f"- {line}", markup=False)
        out.print()
    out.print(f"{path}: intact; {_kept([])}; key {key_id(public)}{_whose(key)}")


def _public_key(path: Path, key: str) -> PublicKey:
    """The key that was named, else the one that entry 0 names."""
    if key:
        return load_public_key(key)
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a privacy ledger")
    with path.open("rb") as stream:
        line = stream.readline()
    try:
        return load_public_key(str(codec.loads(line)["body"]["public_key"]))
    except (ValueError, KeyError, TypeError, FelsinaError) as error:
        raise FelsinaError(
            f"{path}: entry 0 was edited or is none: it names no public key; name one with --key"
        ) from error


def _row(accounts: Accounts, population: Population) -> dict[str, Any]:
    key = population.key
    row: dict[str, Any] = {
        **key._asdict(),
        "names": list(population.names),
        "units": population.units,
        "epsilon": 0.0,
        "budget": None,
        "delta": None,
        "steps": population.steps.total(),
        "runs": population.runs,
        "withdrawn": key.partner in accounts.withdrawn,
    }
    if population.budget is not None:
        limit = accounts.budget(key)
        epsilon = composed(population.steps, limit.delta).pld
        row |= {"epsilon": epsilon, "budget": limit.epsilon, "delta": limit.delta}
    return row


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("partner", "dataset", "unit"):
        table.add_column(name, overflow="fold")
    for name in ("spent epsilon", "budget", "delta"):
        table.add_column(name, justify="right")
    table.add_column("runs", overflow="fold")
    for row in rows:
        partner = f"{row['partner']} (withdrew)" if row["withdrawn"] else row["partner"]
        limits = ["none", "-"]
        if row["budget"] is not None:
            limits = [f"{row['budget']:g}", f"{row['delta']:g}"]
        cells = [partner, row["dataset"], row["unit"], f"{row['epsilon']:.4f}", *limits]
        table.add_row(*cells, ", ".join(row["runs"]) or "-")
    return table


def _line(entry: Entry) -> str:
    said = (f"{name} {_short(value)}" for name, value in entry.body.items())
    return f"{entry.n:>5}  {entry.time}  {entry.kind:<10}  {', '.join(said)}"


def _short(value: Any) -> str:
    """A value on one line, without what a terminal would obey."""
    plain = isinstance(value, str) and value.isprintable()
    return value if plain else codec.dumps(value)


def _kept(receipts: list[Path]) -> str:
    if not receipts:
        return "no receipt given: what the key's owner wrote anew would not show"
    return f"{len(receipts)} receipt{'s' if len(receipts) > 1 else ''} kept"


def _whose(key: str) -> str:
    return "" if key else f" is {_OWN}"
