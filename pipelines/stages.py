"""The stages from a dataset folder to a release before the board: what decides each of them.

Neither torch nor pandas nor mlflow is loaded to find that nothing is to be done: what decides a
stage is read off files. What the stages do is ``pipelines.work``, which is imported once one works.

    ingest -> validate -> prepare -> train -> backtest -> release -> evaluate -> audit -> propose
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from models.board import BOARD, CHARTER
from models.contracts import FelsinaError
from models.record import sha256_file
from pipelines.chain import Made, Stage, Values, outputs_of
from pipelines.digests import code_digest, data_digests, packages, sources_digest
from pipelines.domains.registry import Domain, domain_of
from pipelines.present import (
    FORECASTS,
    GRAPH,
    MEMBERS,
    RECORD,
    REPORT,
    RUN,
    STATE,
    about_file,
    lacking,
    read_board,
    reports,
    served_now,
)
from pipelines.settings import store_place
from serving.release import champion_pointer, load_release
from serving.store import Store

if TYPE_CHECKING:
    from pipelines.work import Work

INGEST, VALIDATE, PREPARE, TRAIN, BACKTEST, RELEASE, EVALUATE, AUDIT, PROPOSE = (
    "ingest",
    "validate",
    "prepare",
    "train",
    "backtest",
    "release",
    "evaluate",
    "audit",
    "propose",
)


class ChainListener(Protocol):
    """Told of the chain's stages."""

    def begin(self, dataset: str, text: str) -> None:
        """Work on a dataset begins."""

    def say(self, text: str) -> None:
        """Something that people should know."""

    def progress(self, stage: str, share: float) -> None:
        """``share`` of ``stage`` is done."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses after optimiser step ``step``."""


@dataclass(frozen=True)
class Asked:
    """What a person asks of a chain.

    Attributes:
        profile: ``quick`` or ``full``.
        seed: of weights, batches and dropout.
        file: settings as TOML.
        assignments: settings as ``key=value``.
        like: a trained folder whose inductive model is taken; nothing is trained.
    """

    profile: str = "quick"
    seed: int = 0
    file: Path | None = None
    assignments: tuple[str, ...] = ()
    like: Path | None = None

    def record(self) -> Values:
        """It by digests and values, without a path."""
        return {
            "profile": self.profile,
            "seed": self.seed,
            "config": digest_of(self.file),
            "set": list(self.assignments),
            "like": None if self.like is None else digest_of(self.like / RUN),
        }


class Chain:
    """The stages of one dataset.

    Args:
        source: the dataset folder, or a domain whose part of the embedded city is meant.
        home: the ``mlruns`` folder.
        asked: settings.
        listener: told of progress.

    Raises:
        FelsinaError: if the folder names no dataset of a registered domain.
    """

    def __init__(
        self, source: Path | Domain, home: Path, asked: Asked, listener: ChainListener
    ) -> None:
        self.source, self.home, self.asked, self.listener = source, home, asked, listener
        if isinstance(source, Domain):
            self.folder = home / "data" / source.embedded
            self.name, self.domain = source.embedded, source.name
        else:
            self.folder = source
            self.name, self.domain = _named(source)
        self.records = home / "chain" / self.name

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In the order in which they are done."""

        def does(name: str) -> Callable[[Made], Values]:
            return lambda made: getattr(self.work, name)(made)

        return (
            Stage(INGEST, (), self._raw, does(INGEST), self._no_folder),
            Stage(VALIDATE, (), self._of_data, does(VALIDATE)),
            Stage(PREPARE, (VALIDATE,), self._of_settings, does(PREPARE), _other_areas),
            Stage(TRAIN, (PREPARE,), self._of_training, does(TRAIN), self._no_model),
            Stage(BACKTEST, (TRAIN,), _nothing, does(BACKTEST), self._no_backtest),
            Stage(RELEASE, (TRAIN, BACKTEST), _of_seal, does(RELEASE), self._no_release),
            Stage(EVALUATE, (RELEASE,), self.of_gate, does(EVALUATE)),
            Stage(AUDIT, (RELEASE, EVALUATE), self._of_report, does(AUDIT), self._no_report),
            Stage(PROPOSE, (RELEASE, EVALUATE, AUDIT), self._of_board, does(PROPOSE), self._unled),
        )

    @cached_property
    def work(self) -> Work:
        """What the stages do."""
        from pipelines.work import Work

        return Work(self)

    @cached_property
    def data(self) -> dict[str, str]:
        """Digests of the dataset's files; the folder must be there."""
        return data_digests(self.folder)

    def _raw(self, made: Made) -> Values:
        return {"raw": digest_of(self.folder / "raw" / "manifest.jsonl")}

    def _no_folder(self, outputs: Values) -> str:
        return _missing(lacking(self.folder, "dataset.toml"))

    def _of_data(self, made: Made) -> Values:
        code = [code_digest(), sources_digest("pipelines/prepare.py")]
        return {"data": self.data, "code": code}

    def _of_settings(self, made: Made) -> Values:
        places = f"pipelines/domains/{self.domain}", "pipelines/domains/registry.py"
        return {
            "data": self.data,
            "asked": self.asked.record(),
            "code": [code_digest(), sources_digest(*places)],
            "packages": packages(),
        }

    def _of_training(self, made: Made) -> Values:
        like = self.asked.like
        model = None if like is None else [digest_of(like / name) for name in (RUN, STATE)]
        return {"data": self.data, "code": code_digest(), "packages": packages(), "like": model}

    def _no_model(self, outputs: Values) -> str:
        folder = self.home / "trained" / outputs["trained"]
        return _missing(lacking(folder, RUN, STATE, GRAPH, MEMBERS))

    def _no_backtest(self, outputs: Values) -> str:
        return _missing(lacking(self.home / "trained" / outputs["trained"], REPORT, FORECASTS))

    def _no_release(self, outputs: Values) -> str:
        try:
            load_release(self.home / "releases" / outputs["release"])
        except FelsinaError as error:
            return str(error)
        if Store(store_place()).state(self.name)[1] is None:
            return "no observation is held"
        return ""

    def of_gate(self, made: Made) -> Values:
        """What decides an evaluation: the ``champion``'s name among it."""
        release = made.get(RELEASE, {}).get("release")
        before = outputs_of(self.records, EVALUATE)
        places = ("fairness", "pipelines/gate.py", "pipelines/replay.py", "serving/runtime.py")
        return {
            "data": self.data,
            "champion": champion_of(self.home, self.name, release, before),
            "code": [code_digest(), sources_digest(*places)],
        }

    def _of_report(self, made: Made) -> Values:
        about = about_file(self.domain, self.name, self.folder)
        places = [f"pipelines/{n}.py" for n in ("audit", "floods", "report", "report_parts")]
        return {
            "data": self.data,
            "about": digest_of(about),
            "code": sources_digest("fairness", *places, "pipelines/report_pages.py"),
        }

    def _no_report(self, outputs: Values) -> str:
        path = reports(self.home, outputs["release"]) / RECORD
        return "" if digest_of(path) == outputs["report"] else f"{path} is another, or is gone"

    def _of_board(self, made: Made) -> Values:
        return {"board": digest_of(self.home / BOARD / CHARTER)}

    def _unled(self, outputs: Values) -> str:
        pointer = champion_pointer(self.home, self.name)
        return "" if outputs["held_back"] else _missing(lacking(pointer.parent, pointer.name))


def champion_of(home: Path, dataset: str, release: str | None, before: Values) -> str | None:
    """Name of the release that a new one would replace: what is served, if that is another.

    One that is served itself has replaced what it was compared with, which stays the comparison.

    Args:
        home: the ``mlruns`` folder.
        dataset: its name.
        release: the new one; None while there is none.
        before: outputs of the last evaluation.
    """
    served = served_now(home, dataset)
    if served is None or served.name != release:
        return None if served is None else served.name
    earlier: list[str | None] = []
    if before.get("release") == release:
        earlier = [before["champion"]]
    elif (home / BOARD / CHARTER).is_file():
        earlier = [one.release for one in read_board(home / BOARD).promoted(dataset)[1:]]
    return next((name for name in earlier if name and (home / "releases" / name).is_dir()), None)


def _named(folder: Path) -> tuple[str, str]:
    """Name and domain that a dataset folder says, of a registered domain."""
    try:
        header = tomllib.loads((folder / "dataset.toml").read_text())
        name, domain = str(header["name"]), str(header["domain"])
    except (OSError, ValueError, KeyError):
        name, domain = "", ""
    if not name.replace("-", "").isalnum():
        from pipelines.prepare import open_registered

        spec = open_registered(folder).spec  # which says in one line what is wrong
        name, domain = spec.dataset, spec.domain
    return name, domain_of(domain).name


def _other_areas(outputs: Values) -> str:
    """Which file of areas, that groups in training go by, is another one now."""
    other = (path for path, sha in outputs["areas"].items() if digest_of(Path(path)) != sha)
    return next((f"{path} changed" for path in other), "")


def _of_seal(made: Made) -> Values:
    return {"code": sources_digest("pipelines/release.py")}


def _nothing(made: Made) -> Values:
    return {}


def _missing(path: str) -> str:
    return f"{path} is missing" if path else ""


def digest_of(path: Path | None) -> str | None:
    """Of a file; None where there is none."""
    return sha256_file(path) if path is not None and path.is_file() else None
