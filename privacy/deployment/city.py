"""The city's folder: its keys, its ledger, whom it invited and who has joined.

Everything is a file: a killed command leaves either what was or what is. ``partners/NAME.json`` is
one partner; the ledger says what was agreed and spent, and is what counts.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes, write_atomic
from models.signing import (
    create_key,
    key_ring,
    load_key,
    load_public_key,
    public_hex,
    signature_fault,
)
from models.toml_file import first_fault
from privacy.deployment import bundle, certificates
from privacy.deployment.invitation import Invitation, acceptance
from privacy.deployment.member import Enrolment, Member
from privacy.deployment.plan import Plan, Policy, Terms, narrowed, own_settings
from privacy.deployment.results import save_arrays
from privacy.entries import Consent, Said, Withdrawal, is_name
from privacy.ledger import Ledger
from privacy.strategy import Arrays


class City:
    """An opened city folder.

    Args:
        folder: made by :meth:`create`.

    Raises:
        FelsinaError: if it is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        try:
            about = json.loads((self.folder / "city.json").read_bytes())
            self.name, self.address = str(about["city"]), str(about["address"])
            self.plan = Plan.model_validate_json((self.folder / "plan.json").read_bytes())
        except (OSError, ValueError, KeyError) as error:
            raise FelsinaError(
                f"{self.folder} is no city's folder; make one with felsina city init"
            ) from error
        self.key = load_key(self.folder / "city.key")

    @classmethod
    def create(cls, folder: Path, city: str, address: str, plan: Plan, initial: Arrays) -> City:
        """Make keys, authority, certificates, ledger and bundle; the folder appears whole.

        Args:
            folder: that does not exist.
            city: its name.
            address: HOST:PORT that partners reach.
            plan: what is trained.
            initial: the model before any round.

        Raises:
            FelsinaError: if there is one, or the address has no host and port.
        """
        host, port = split_address(address)
        if folder.exists():
            raise FelsinaError(f"{folder} exists; a city is made once, name another folder")
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        certificates.create_authority(part, city)
        certificates.create_server(part, host)
        key = create_key(part / "city.key")
        Ledger.create(part / "ledger.jsonl", key, f"{city}-{plan.federation}")
        (part / "partners").mkdir()
        bundle.write_sources(part / "bundle")
        (part / "bundle.fab").write_bytes(bundle.build())
        save_arrays(part / "initial.npz", initial)
        (part / "plan.json").write_bytes(canonical_json(plan.model_dump(mode="json")))
        about = {"city": city, "address": f"{host}:{port}"}
        (part / "city.json").write_bytes(canonical_json(about))
        part.rename(folder)
        return cls(folder)

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.folder / "ledger.jsonl"

    def ledger(self) -> Ledger:
        """The ledger, opened and verified."""
        return Ledger(self.ledger_path, self.key)

    def members(self) -> list[Member]:
        """Everybody who was ever invited."""
        return [self.member(path.stem) for path in sorted(self._partners.glob("*.json"))]

    def member(self, partner: str) -> Member:
        """One of them.

        Raises:
            FelsinaError: if nobody of that name was invited.
        """
        path = self._partners / f"{partner}.json"
        if not is_name(partner) or not path.is_file():
            raise FelsinaError(f"partner {partner!r} was never invited; see felsina city status")
        return Member.model_validate_json(path.read_bytes())

    def invite(self, partner: str, agreement: str, terms: Terms) -> bytes:
        """An invitation, as a file's bytes; one that was not used yet is replaced.

        Raises:
            FelsinaError: for somebody who has joined, or a plan that the terms do not allow.
        """
        own_settings(terms, self.plan)
        if self.plan.private is None and terms.epsilon:
            raise FelsinaError("epsilon: the plan trains on nobody's rows; leave it out")
        token = secrets.token_urlsafe(32)
        try:
            member = Member(
                partner=partner,
                token_sha256=sha256_bytes(token.encode()),
                agreement=agreement,
                terms=terms,
            )
            invitation = self._invitation(member, token)
        except ValidationError as error:
            raise FelsinaError(f"invitation: {first_fault(error)}") from error
        with self.held():
            if (self._partners / f"{partner}.json").is_file():
                known = self.member(partner)
                if known.state == "joined":
                    raise FelsinaError(
                        f"partner {partner} has joined; withdraw it before it is invited anew"
                    )
            self._keep(member)
        return invitation.signed(self.key)

    @property
    def bundle_sha256(self) -> str:
        """What partners pin."""
        return sha256_bytes((self.folder / "bundle.fab").read_bytes())

    def enrol(self, partner: str, content: bytes) -> dict[str, Any]:
        """Let a partner in; the same again for the same key.

        Returns:
            Its ``certificate`` (PEM) and a ``receipt`` of the ledger.

        Raises:
            FelsinaError: without a reason that would tell a stranger who was invited.
        """
        try:
            sent = Enrolment.model_validate_json(content)
        except ValidationError as error:
            raise FelsinaError(f"enrolment: {first_fault(error)}") from error
        self._invited(partner, sent.token)  # strangers wait for no lock
        with self.held():
            member = self._invited(partner, sent.token)
            key = certificates.public_pem(certificates.key_of_request(sent.request)).decode()
            if member.enrolled is not None and member.key != key:
                raise FelsinaError(
                    f"the invitation of {partner} was used with another key; ask for a new one"
                )
            if any(one.key == key for one in self.members() if one.partner != partner):
                raise FelsinaError("another partner has this key; make one in a house of its own")
            self._check(member, sent)
            ledger = self.ledger()
            ledger.ensure(self._entries(partner, member.agreement, sent))
            kept = sent.model_copy(update={"token": ""})  # its digest is kept, and is enough
            self._keep(member.model_copy(update={"enrolled": kept, "key": key}))
            certificate = certificates.certify(self.folder, sent.request, partner)
            return {"certificate": certificate.decode(), "receipt": ledger.receipt()}

    def place(self, partner: str, node: int) -> None:
        """Remember a partner's number at the SuperLink."""
        with self.held():
            self._keep(self.member(partner).model_copy(update={"node": node}))

    def withdraw(self, partner: str, reason: str | None) -> None:
        """A partner leaves: nothing more is asked of it or charged to it; what was spent stays.

        Raises:
            FelsinaError: if it was never in.
        """
        with self.held():
            member, ledger = self.member(partner), self.ledger()
            if member.state != "joined" and (member.enrolled is None or ledger.withdrew(partner)):
                raise FelsinaError(f"partner {partner} has not joined ({member.state})")
            # First out at the door: whoever comes back after a kill here would join again.
            self._keep(member.model_copy(update={"withdrawn": True}))
            if not ledger.withdrew(partner):
                ledger.record(Withdrawal(partner=partner, reason=reason))

    def admitted(self, partner: str, key: bytes) -> Member | None:
        """The partner, if whoever shows this key may send requests in its name."""
        try:
            member = self.member(partner)
        except FelsinaError:
            return None
        own = hmac.compare_digest(member.key.encode(), key)
        return member if own and member.state == "joined" else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """One writer of partners' files at a time, in whatever process."""
        with (self.folder / "partners.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    @property
    def _partners(self) -> Path:
        return self.folder / "partners"

    def _keep(self, member: Member) -> None:
        content = canonical_json(member.model_dump(mode="json"))
        write_atomic(self._partners / f"{member.partner}.json", content)

    def _invitation(self, member: Member, token: str) -> Invitation:
        return Invitation(
            city=self.name,
            partner=member.partner,
            address=self.address,
            authority=(self.folder / "ca.crt").read_text(),
            city_key=public_hex(self.key.public_key()),
            token=token,
            agreement=member.agreement,
            terms=member.terms,
            plan=self.plan,
            bundle_sha256=self.bundle_sha256,
            bundle_files=bundle.contents((self.folder / "bundle.fab").read_bytes()),
        )

    def _invited(self, partner: str, token: str) -> Member:
        refused = FelsinaError("the invitation is not known here; ask the city for a new one")
        try:
            member = self.member(partner)
        except FelsinaError:
            raise refused from None
        given = sha256_bytes(token.encode())
        if member.withdrawn or not hmac.compare_digest(member.token_sha256, given):
            raise refused
        return member

    def _check(self, member: Member, sent: Enrolment) -> None:
        """Terms may be stricter and have to be what was signed; so has the mechanism."""
        theirs, ours = sent.terms, member.terms
        same = ("unit", "units", "delta", "purposes")
        if (
            theirs.epsilon > ours.epsilon
            or theirs.until > ours.until
            or any(getattr(theirs, name) != getattr(ours, name) for name in same)
        ):
            raise FelsinaError("terms: looser than the city's, or of another unit; join again")
        wanted = acceptance(self._invitation(member, token=""), theirs)
        body = {k: v for k, v in sent.accepted.items() if k not in ("key", "signature")}
        fault = signature_fault(sent.accepted, key_ring(load_public_key(sent.public_key)))
        if fault or body != wanted:
            raise FelsinaError(f"acceptance: {fault or 'of another text, plan or bundle'}")
        policy = Policy(
            epsilon=theirs.epsilon or None,
            noise_multiplier=sent.noise_multiplier,
            sampling_rate=sent.sampling_rate,
        )
        _, private = narrowed(ours, self.plan, policy)
        if private is not None and (sent.weight != ours.units or sent.noise_multiplier is None):
            raise FelsinaError("enrolment: private training weighs its units and names its noise")

    def _entries(self, partner: str, agreement: str, sent: Enrolment) -> list[Said]:
        terms, private = sent.terms, self.plan.private is not None
        text, name = sha256_bytes(agreement.encode()), sent.dataset
        said = terms.entries(partner, text, name, sent.digests, private)
        if sent.basis is not None:
            units = terms.units
            said.append(Consent(partner=partner, dataset=name, units=units, basis=sent.basis))
        return said


def split_address(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        FelsinaError: if it is not of that form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise FelsinaError(f"address {address!r}: give HOST:PORT, as partners reach it")
    return host.strip("[]"), int(port)
