"""A private federation in one process: what noise at each partner costs, and what rounds give back.

The same study as ``federation.study``, with noise: each partner alone, all by rounds on a ledger,
all units in one place. The errors of the table are exact, so it is made on data that may be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import IntArray
from models.record import canonical_json, sha256_bytes
from models.signing import create_key, load_key
from privacy.accounting import SampledGaussian
from privacy.dp import PrivateSettings, planned
from privacy.entries import Agreement, Budget, Dataset, Said
from privacy.federation import By, Standing, in_process, split_nodes, standing
from privacy.ledger import Ledger
from privacy.local import errors_on_test
from privacy.local_private import PrivateTrainer, first_private_model
from privacy.population import BudgetKey
from privacy.recorded import Part, run_recorded
from privacy.rounds import Ended, RoundSettings
from privacy.strategy import Arrays
from privacy.units import NODE_UNITS
from training.dataset import CityDataset

Charge = Callable[[SampledGaussian, int], None]
_TEXT = "rehearsal in one process: nothing leaves it"


def private_study(
    dataset: CityDataset,
    settings: PrivateSettings,
    rounds: RoundSettings,
    partners: int,
    by: By,
    work: Path,
    progress: Callable[[str, float], None],
    record: Callable[[int, dict[str, Any]], None] = lambda round, told: None,
) -> tuple[list[Standing], Ended]:
    """Train alone, together and in one place, each by the same number of noisy steps.

    Args:
        dataset: that is cut.
        settings: of each training; ``nominal_units`` are those of all partners together.
        rounds: of the federation.
        partners: how many.
        by: how nodes are dealt.
        work: folder of checkpoints, keys and ledgers.
        progress: told a text and the share that is done.
        record: told of each round.
    """
    noise = planned(settings).noise_multiplier  # looked for once, not at each partner
    settings = settings.model_copy(update={"noise_multiplier": noise})
    parts = split_nodes(dataset, partners, by, settings.seed)
    names = [f"partner-{number}" for number in range(1, partners + 1)]
    initial = first_private_model(dataset.spec, settings)
    run = f"{dataset.spec.dataset}-{by}"

    def trainer(part: IntArray, folder: str, charge: Charge) -> PrivateTrainer:
        own = _share(settings, len(part) / dataset.graph.nodes)
        return PrivateTrainer(dataset.part(part), own, rounds.rounds, work / folder, charge)

    def by_itself(part: IntArray, name: str) -> np.ndarray:
        """Errors [N] after as many noisy steps on one trainer's units."""
        progress(name, 0.0)
        own = trainer(part, name.replace(" ", "-"), lambda mechanism, first: None)
        arrays: Arrays = initial
        for round in range(1, rounds.rounds + 1):
            step = own.update(round, arrays)
            arrays = {key: arrays[key] + step[key] for key in arrays}
            progress(name, round / rounds.rounds)
        return _errors(own, arrays)

    alone = [by_itself(part, f"{names[k]} alone") for k, part in enumerate(parts)]
    pooled = by_itself(np.arange(dataset.graph.nodes), "all in one place")
    trainers: dict[str, PrivateTrainer] = {}
    private: dict[str, Part] = {}
    bodies: list[Said] = []
    for name, part in zip(names, parts, strict=True):
        key = BudgetKey(name, dataset.spec.dataset, settings.unit)  # pyright: ignore[reportArgumentType]
        said = _said(key, dataset.part(part), settings)
        own = _ledger(work / "accounts" / name, name, said)
        trainers[name] = trainer(part, name, partial(_charge, own, key, run))
        private[name] = Part(key, trainers[name].mechanism)
        bodies += said
    city = _ledger(work / "city", "city", bodies)
    agreed = {name: one.observed for name, one in trainers.items()}
    ended = run_recorded(
        run,
        initial,
        in_process(trainers),
        agreed,
        rounds,
        work / "rounds",
        city,
        private,
        lambda text, share: progress("together", share),
        record,
    )
    standings = []
    for k, (name, one) in enumerate(trainers.items()):
        errors = alone[k], _errors(one, ended.arrays), pooled[parts[k]]
        spent = city.epsilon(private[name].key).pld
        standings.append(standing(name, errors, ended, spent))
    return standings, ended


def _share(settings: PrivateSettings, share: float) -> PrivateSettings:
    """The settings of a partner that has a share of the nodes."""
    if settings.unit not in NODE_UNITS:
        return settings
    units = max(1, round(settings.nominal_units * share))
    return settings.model_copy(update={"nominal_units": units})


def _errors(own: PrivateTrainer, arrays: Arrays) -> np.ndarray:
    own.load(arrays)
    return errors_on_test(own, own.dataset)


def _charge(
    own: Ledger, key: BudgetKey, run: str, mechanism: SampledGaussian, first_step: int
) -> None:
    """Into the partner's own account."""
    own.charge(key, mechanism, run, first_step)


def _said(key: BudgetKey, part: CityDataset, settings: PrivateSettings) -> list[Said]:
    """A partner's agreement, data set and budget; what it has is told by its units' count."""
    units = part.graph.nodes if settings.unit in NODE_UNITS else settings.nominal_units
    content = canonical_json([list(part.graph.ids), sha256_bytes(part.values.tobytes())])
    agreement = Agreement(
        partner=key.partner,
        text_sha256=sha256_bytes(_TEXT.encode()),
        unit=key.unit,
        epsilon=settings.epsilon,
        delta=settings.delta,
        purposes=(_TEXT,),
        until=date.max,
    )
    digests = {"part": sha256_bytes(content)}
    return [
        agreement,
        Dataset(**key._asdict(), digests=digests, units=units),
        Budget(**key._asdict(), epsilon=settings.epsilon, delta=settings.delta),
    ]


def _ledger(folder: Path, name: str, bodies: list[Said]) -> Ledger:
    """A ledger that says ``bodies``, each once."""
    path, key_file = folder / "ledger.jsonl", folder / "key.pem"
    key = load_key(key_file) if key_file.exists() else create_key(key_file)
    ledger = Ledger(path, key) if path.exists() else Ledger.create(path, key, name)
    ledger.ensure(bodies)
    return ledger
