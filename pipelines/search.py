"""The search for better settings: trials that any number of processes share through one file.

What a trial is judged by is the loss on the stopping windows; calibration windows and the test span
have no say. It needs Optuna, the extra ``search``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from models.forecaster import Architecture
from models.toml_file import merge
from pipelines.groups import groups_of
from pipelines.train import made_of, work_key
from training.dataset import CityDataset
from training.fit import fit
from training.loop import Listener
from training.settings import TrainSettings

try:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState
except ImportError as error:
    raise FelsinaError("--trials needs optuna; pip install 'felsina[search]'") from error

FIRST = 8
"""Trials drawn at random; from then on, the earlier ones guide the draw and end the poor early."""
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def _draw(trial: optuna.Trial) -> dict[str, Any]:
    """The space: what most decides how well a network of this kind fits, and no more."""
    return {
        "batch": trial.suggest_categorical("batch", [32, 64, 128]),
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        "architecture": {
            "width": trial.suggest_categorical("width", [32, 64, 128, 256]),
            "blocks": trial.suggest_int("blocks", 1, 4),
            "dropout": trial.suggest_float("dropout", 0.0, 0.4),
        },
    }


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        trials: how many ended, with those of other processes.
        number: of the best trial.
        loss: its best loss on the stopping windows.
        changes: its settings, as far as they were drawn.
    """

    trials: int
    number: int
    loss: float
    changes: dict[str, Any]

    def toml(self) -> str:
        """The settings as a file for ``--config``."""
        own = [f"{k} = {v}" for k, v in self.changes.items() if k not in Architecture.model_fields]
        shape = [f"{k} = {v}" for k, v in self.changes.items() if k in Architecture.model_fields]
        head = f"# trial {self.number} of {self.trials}: loss {self.loss:.6g}, stopping windows"
        return "\n".join([head, *own, "", "[architecture]", *shape, ""])


def search(
    dataset: CityDataset,
    settings: TrainSettings,
    home: Path,
    listener: Listener,
    trials: int,
    tell: Callable[[str], None],
) -> Found:
    """Try settings until the study holds ``trials`` that ended, this process's or another's.

    A search that was killed goes on when it is called again; the trial that it was at is lost.

    Args:
        dataset: an opened dataset folder.
        settings: what every trial starts from.
        home: the ``mlruns`` folder; the study is a file under ``search`` in it.
        listener: told of each fit's progress.
        trials: how many are to end; of processes that run at once each may end one more.
        tell: told of each trial's end.

    Raises:
        FelsinaError: if every trial diverged.
    """
    name = work_key(dataset, made_of(dataset, settings))
    groups = groups_of(dataset, settings.fairness)
    journal = home / "search" / f"{name}.log"
    journal.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        pruner=optuna.pruners.MedianPruner(FIRST, n_warmup_steps=settings.steps // 4),
        load_if_exists=True,
    )
    while len(study.get_trials(deepcopy=False, states=_ENDED)) < trials:
        trial = study.ask()
        # A seed a trial: processes that share a study draw unlike settings, and one alone draws
        # the same when it is repeated.
        seed = settings.seed * 100_003 + trial.number
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=FIRST, seed=seed)
        tried = TrainSettings(**merge(settings.model_dump(), _draw(trial)))
        judged = _Judged(listener, trial)
        work = home / "work" / f"{name}-trial-{trial.number}"
        try:
            fit(dataset, tried, work, judged, groups)
            state = TrialState.COMPLETE if math.isfinite(judged.best) else TrialState.FAIL
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except FelsinaError:
            state = TrialState.FAIL
        finally:
            shutil.rmtree(work, ignore_errors=True)
        study.tell(trial, judged.best if state is TrialState.COMPLETE else None, state)
        tell(f"trial {trial.number}: {state.name.lower()}, loss {judged.best:.5g}")
    ended = study.get_trials(deepcopy=False, states=_ENDED)
    if all(trial.state is TrialState.FAIL for trial in ended):
        raise FelsinaError(f"all {len(ended)} trials of {journal} diverged; check the data's scale")
    best = study.best_trial
    return Found(len(ended), best.number, study.best_value, best.params)


class _Judged:
    """Reports losses to a trial's study, and ends a trial that lies behind half of the others."""

    def __init__(self, listener: Listener, trial: optuna.Trial) -> None:
        self.listener, self.trial, self.best = listener, trial, math.inf

    def progress(self, stage: str, share: float) -> None:
        self.listener.progress(stage, share)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.best = min(self.best, values["validation_loss"])
        self.trial.report(self.best, step)
        if self.trial.should_prune():
            raise optuna.TrialPruned
