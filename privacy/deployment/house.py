"""A partner's own folder: its keys, what it agreed to, its own account of what left, its models.

Nothing here is ever read by the city. The partner's account is a ledger of its own: every private
step is charged there before its noisy sum is formed, whether or not the city then uses the reply,
so that it never shows less than the city's.
"""

from __future__ import annotations

import fcntl
import json
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import httpx

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, write_atomic
from models.signing import (
    create_key,
    key_ring,
    load_key,
    load_public_key,
    public_hex,
    sign_record,
    signature_fault,
)
from models.stream import utc_now
from privacy.accounting import SampledGaussian
from privacy.deployment import bundle, certificates
from privacy.deployment.invitation import Invitation, acceptance, read_invitation
from privacy.deployment.node import Identity, Node
from privacy.deployment.plan import Policy, narrowed
from privacy.deployment.results import save_arrays
from privacy.draws import new_key
from privacy.entries import is_name
from privacy.ledger import Ledger
from privacy.local import LocalTrainer, federated
from privacy.local_private import PrivateTrainer
from privacy.messages import Trainer, client_app
from privacy.population import BudgetKey
from privacy.strategy import Arrays
from training.dataset import CityDataset

Told = Callable[[str], None]
_TIMEOUT_S, _AGAIN_S = 60.0, 1.0
_SEED_BITS = 30
_ROWS = "series.parquet"


class House:
    """A partner's side of one invitation.

    Args:
        folder: the partner's own; made where it is missing.
        invitation: the city's file; a copy is kept.
        dataset: the partner's own.
        policy: its own limits.

    Raises:
        FelsinaError: if the invitation is damaged or of another version's bundle, the dataset of
            another task, or the policy looser than the city's.
    """

    def __init__(
        self, folder: Path, invitation: Path, dataset: CityDataset, policy: Policy
    ) -> None:
        self.folder, self.dataset = folder.resolve(), dataset
        self.invitation, self._sent = read_invitation(invitation), invitation.read_bytes()
        check_bundle(self.invitation)
        self.plan = self.invitation.plan
        self.plan.check(dataset)
        self.terms, self.private = narrowed(self.invitation.terms, self.plan, policy)
        self.basis = policy.basis
        self._trainers: dict[str, Trainer] = {}
        self._lock: IO[str] | None = None

    @property
    def partner(self) -> str:
        """Its name in the federation."""
        return self.invitation.partner

    @property
    def key(self) -> BudgetKey:
        """Whose budget is spent."""
        return BudgetKey(self.partner, self.dataset.spec.dataset, self.terms.unit)

    @property
    def _digests(self) -> dict[str, str]:
        """Of the file that holds units' rows; weather is the same at all partners."""
        return {_ROWS: self.dataset.digests[_ROWS]}

    def join(self, told: Told, stop: Callable[[], bool]) -> bool:
        """Agree: keys are made here, the city signs a certificate for them; again if need be.

        A city that does not answer yet is tried again until ``stop`` says so.

        Args:
            told: of what happens, one line each.
            stop: asked between attempts.

        Returns:
            Whether the partner is in.

        Raises:
            FelsinaError: if the city refuses, or its certificate is not of its authority; if the
                house is in use, or another partner's.
        """
        self._move_in()
        write_atomic(self.folder / "ca.crt", self.invitation.authority.encode())
        node_key = certificates.create_node_key(self.folder / "node.key")
        own = self.folder / "partner.key"
        signer = load_key(own) if own.exists() else create_key(own)
        weight, mechanism = float(self.terms.units), {}
        if self.private is None:
            weight = float(self.trainer("join").observed)
        else:
            mechanism = {
                "sampling_rate": self.private.sampling_rate,
                "noise_multiplier": self.private.noise_multiplier,
            }
        sent = {
            "token": self.invitation.token,
            "request": certificates.request_of(node_key, self.partner),
            "accepted": sign_record(acceptance(self.invitation, self.terms), signer),
            "public_key": public_hex(signer.public_key()),
            "terms": self.terms.model_dump(mode="json"),
            "dataset": self.dataset.spec.dataset,
            "digests": self._digests,
            "weight": weight,
            "basis": self.basis,
            **mechanism,
        }
        answer = self._post(canonical_json(sent), told, stop)
        if answer is None:
            return False
        write_atomic(self.folder / "node.pem", str(answer["certificate"]).encode())
        self._receipt(answer["receipt"])
        write_atomic(self.folder / "accepted.json", canonical_json(sent["accepted"]))
        if self.private is not None:
            self._account()
        return True

    def _move_in(self) -> None:
        """Make the house, for its owner's eyes, one process and one partner."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        if self._lock is None:
            self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Two at once could draw two keys for one run, and pay for one.
            raise FelsinaError(f"{self.folder}: another process is in it; end that one") from None
        kept = self.folder / "invitation"
        if kept.exists():
            own, new = read_invitation(kept), self.invitation
            if (own.city_key, own.partner) != (new.city_key, new.partner):
                raise FelsinaError(
                    f"{self.folder} is the house of {own.partner} in {own.city}; name another, and "
                    "see that no two houses train on the same people"
                )
        write_atomic(kept, self._sent)

    def serve(self, told: Told, stop: Callable[[], bool], runs: int = 0) -> None:
        """Answer the city until ``stop`` says so, or so many runs have ended.

        Args:
            told: of what happens, one line each.
            stop: asked between answers.
            runs: 0 for any number.
        """
        ended: set[str] = set()

        def keep(run: str, rounds: int, arrays: Arrays, receipt: str) -> None:
            self._ended(run, rounds, arrays, receipt)
            told(f"run {run} ended after {rounds} rounds; its model is in {self._run(run)}")
            ended.add(run)

        def trainer(run: str) -> Trainer:
            folder = self._run(run)
            if run not in self._trainers:
                told(f"run {run}: training here, what it keeps is in {folder}")
            return self.trainer(run)

        identity = Identity(
            self.invitation.address,
            self.folder / "ca.crt",
            self.folder / "node.key",
            self.folder / "node.pem",
        )
        app = client_app(trainer, keep, told)
        node = Node(identity, self.invitation.bundle_sha256, app, told)
        node.serve(lambda: stop() or bool(runs and len(ended) >= runs))

    def trainer(self, run: str) -> Trainer:
        """This partner's trainer in a run; what it keeps between rounds is in the run's folder.

        Raises:
            FelsinaError: once the agreement has ended, here and by this machine's clock.
        """
        if utc_now().date() > self.terms.until:
            raise FelsinaError(f"the agreement ended on {self.terms.until}; agree anew")
        if run not in self._trainers:
            self._trainers[run] = self._private(run) if self.private else self._plain(run)
        return self._trainers[run]

    def _plain(self, run: str) -> Trainer:
        settings = self.plan.training
        assert settings is not None
        work, rounds = self._run(run), self.plan.rounds.rounds
        seed = seed_of(self.partner)
        return LocalTrainer(self.dataset, federated(settings), rounds, seed, work)

    def _private(self, run: str) -> Trainer:
        assert self.private is not None
        ledger = self._account()

        def charge(mechanism: SampledGaussian, first_step: int) -> None:
            # Of the run's folder depends which noise is drawn; a new one is paid for anew.
            name = f"{run}-{trainer.run.open(new_key).name}"
            ledger.charge(self.key, mechanism, name, first_step)

        rounds = self.plan.rounds.rounds
        trainer = PrivateTrainer(self.dataset, self.private, rounds, self._run(run), charge)
        return trainer

    def _run(self, run: str) -> Path:
        if not is_name(run):
            raise FelsinaError(f"run {run[:100]!r} is no plain name; the city has to give another")
        folder = self.folder / "runs" / run
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _account(self) -> Ledger:
        """The partner's own ledger, with the terms that it set itself."""
        path, key = self.folder / "account.jsonl", load_key(self.folder / "partner.key")
        own = path.exists()
        ledger = Ledger(path, key) if own else Ledger.create(path, key, f"{self.partner}-account")
        text, name = self.invitation.agreement_sha256, self.dataset.spec.dataset
        ledger.ensure(self.terms.entries(self.partner, text, name, self._digests, budget=True))
        return ledger

    def _ended(self, run: str, rounds: int, arrays: Arrays, receipt: str) -> None:
        save_arrays(self._run(run) / f"model-{rounds:06d}.npz", arrays)
        self._receipt(json.loads(receipt))

    def _receipt(self, head: Any) -> None:
        """Keep a signed head of the city's ledger; one that its key did not sign is refused."""
        ring = key_ring(load_public_key(self.invitation.city_key))
        whole = isinstance(head, dict) and isinstance(head.get("n"), int)
        whole = whole and re.fullmatch("[0-9a-f]{64}", str(head.get("sha256")))
        fault = signature_fault(head, ring) if whole else "is none"
        if fault:
            raise FelsinaError(f"the city's receipt {fault}; ask the city what happened")
        name = f"{head['n']:08d}-{head['sha256'][:12]}.json"
        path = self.folder / "receipts" / name
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, canonical_json(head))

    def _post(self, content: bytes, told: Told, stop: Callable[[], bool]) -> dict[str, Any] | None:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        url = f"https://{self.invitation.address}/enrol/{self.partner}"
        silent = False
        while True:
            try:
                answer = httpx.post(url, content=content, verify=context, timeout=_TIMEOUT_S)
                break
            except httpx.TransportError as error:
                if "CERTIFICATE" in str(error):
                    raise FelsinaError(
                        f"{self.invitation.address} is not the city that invited you ({error}); "
                        "ask the city"
                    ) from error
                if not silent:
                    told(f"{self.invitation.address} does not answer yet; tried until it does")
                silent = True
            if stop():
                return None
            time.sleep(_AGAIN_S)
        if answer.status_code != httpx.codes.OK:
            raise FelsinaError(f"the city refused: {answer.text[:300]}")
        return answer.json()


def seed_of(partner: str) -> int:
    """Of a partner's own draws: the same whenever it comes back."""
    return int(sha256_bytes(partner.encode())[:8], 16) >> (32 - _SEED_BITS)


def check_bundle(invitation: Invitation) -> None:
    """Refuse an invitation whose bundle is not that of this installation, file by file.

    Raises:
        FelsinaError: naming the file that differs.
    """
    own = bundle.contents(bundle.build())
    for name in sorted(own.keys() | invitation.bundle_files.keys()):
        if own.get(name) != invitation.bundle_files.get(name):
            raise FelsinaError(
                f"the city's bundle differs from this installation's in {name}; install the city's "
                "version of felsina, or ask the city"
            )
