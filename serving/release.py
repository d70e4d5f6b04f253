"""A sealed release folder: verify every digest, then read it, without torch or pandas."""

from __future__ import annotations

import json
import os
import stat
from calendar import timegm
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from models.contracts import CityGraph, FelsinaError, ForecastSpec
from models.record import canonical_json, sha256_bytes

MANIFEST = "manifest.json"
MODEL, GRAPH, MEMBERS, REPORT = "model.onnx", "graph.json", "members.npy", "report.json"
INPUTS = "inputs.json"
"""What a surrogate may be asked; no forecaster has one."""
FILES = (MODEL, GRAPH, MEMBERS, REPORT)
"""What the manifest of a release seals."""
EVIDENCE, EVIDENCE_PAGE = "evidence.json", "evidence.md"
EVIDENCE_FILES = (EVIDENCE, EVIDENCE_PAGE)
"""What that of a privately trained one seals besides."""
_DATA = ("start", "synthetic", "attribution")
_PRIVACY = ("differential_privacy", "statement")
MOST_BYTES = 2**30
"""Of a file of a release."""
AUDIT = ("epsilon_at_least", "confidence", "canaries", "could_contradict", "auc")
"""What is shown of a private release's audit."""


@dataclass(frozen=True)
class Approval:
    """What stands behind a release that is served.

    Attributes:
        state: ``approved`` by the ethics board, ``demo`` by a throw-away one, else ``none``.
        decision: id of the ruling.
        report_sha256: of the board's report that was signed.
        conditions: that the board has set.
        expires: last day of the approval.
    """

    state: str = "none"
    decision: str | None = None
    report_sha256: str | None = None
    conditions: tuple[str, ...] = ()
    expires: str | None = None

    @cached_property
    def ends(self) -> int | None:
        """The second since 1970, UTC, from which it is over; each request asks."""
        if self.expires is None:
            return None
        return timegm(date.fromisoformat(self.expires).timetuple()) + 86_400


UNDECIDED = Approval()
"""Of every release where no board decides: in the library, in tests and benchmarks."""


@dataclass(frozen=True)
class Release:
    """A verified release.

    Attributes:
        folder: where it lies; its name is the release's id.
        manifest: what it says of itself.
        sha256: digest of the manifest's bytes, which decisions sign.
        spec: what it forecasts, lags included.
        graph: its nodes, in the model's order.
        approval: what stands behind it.
        contents: bytes of its files by name, as they were verified.
    """

    folder: Path
    manifest: dict[str, Any]
    sha256: str
    spec: ForecastSpec
    graph: CityGraph
    approval: Approval = UNDECIDED
    contents: Mapping[str, bytes] = field(repr=False, compare=False, default_factory=dict)

    @property
    def id(self) -> str:
        """Name of the release."""
        return self.folder.name

    @property
    def of_protected_rows(self) -> bool:
        """Whether it is of the very rows that its epsilon protects, so that scores tell of them.

        A federation's is not: partners keep theirs, and it is made for nodes of the city's own.
        """
        promised = self.manifest["privacy"]["differential_privacy"]
        return bool(promised) and not self.manifest.get("federation")


def release_id(dataset: str, manifest: bytes) -> str:
    """Name of the release with these manifest bytes."""
    return f"{dataset}-{sha256_bytes(manifest)[:12]}"


def load_release(folder: Path) -> Release:
    """Verify a release folder and read it.

    Raises:
        FelsinaError: naming the file that is missing, extra or changed.
    """

    def read(manifest: dict[str, Any]) -> ForecastSpec:
        spec = ForecastSpec.from_dict(manifest["spec"])
        _ = [manifest["data"][key] for key in _DATA], manifest["interval"]["method"]
        _ = [manifest["privacy"][key] for key in _PRIVACY]
        if manifest["privacy"]["differential_privacy"]:
            _ = [manifest["privacy"]["audit"][key] for key in AUDIT]
        if spec.dataset != manifest["dataset"]:
            raise ValueError("its dataset is not that of its spec")
        return spec

    manifest, contents, spec = verified(folder, sealed_files, read)
    if manifest["privacy"]["differential_privacy"]:
        _check_evidence(folder / EVIDENCE, contents[EVIDENCE], manifest)
    return Release(
        folder=folder,
        manifest=manifest,
        sha256=sha256_bytes(contents[MANIFEST]),
        spec=spec,
        graph=CityGraph.from_dict(json.loads(contents[GRAPH])),
        contents=contents,
    )


def sealed_files(manifest: dict[str, Any]) -> tuple[str, ...]:
    """Files that a release with this manifest holds: evidence too, where it promises privacy."""
    private = manifest["privacy"]["differential_privacy"]
    return (*FILES, *EVIDENCE_FILES) if private else FILES


def _check_evidence(path: Path, content: bytes, manifest: dict[str, Any]) -> None:
    """Refuse evidence of another model, or against what the manifest claims."""
    try:
        record = json.loads(content)
        model, refuted = record["of"]["model_sha256"], record["audit"]["contradicts"]
    except (ValueError, KeyError, TypeError) as error:
        raise FelsinaError(
            f"{path}: no evidence ({type(error).__name__}: {error}); build the release anew"
        ) from error
    if refuted or model != manifest["files"][MODEL]:
        fault = "speaks against the release's claim" if refuted else f"is of another {MODEL}"
        raise FelsinaError(f"{path} {fault}; do not serve this release")


Spec = TypeVar("Spec")


def verified(
    folder: Path,
    names: Callable[[dict[str, Any]], tuple[str, ...]],
    read: Callable[[dict[str, Any]], Spec],
) -> tuple[dict[str, Any], dict[str, bytes], Spec]:
    """Recompute every digest of a release folder, each file read once.

    What is opened afterwards are these bytes: a file may be another one a moment later.

    Args:
        folder: the release.
        names: files that a manifest must seal, no more and no fewer.
        read: its spec, from the manifest.

    Returns:
        Manifest, the bytes of each file, its own among them, and the spec.

    Raises:
        FelsinaError: naming the file that is missing, extra or changed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; {folder} is no release folder")
    content = _read(path)
    try:
        manifest = json.loads(content)
        files: dict[str, str] = {name: manifest["files"][name] for name in names(manifest)}
        dataset: str = manifest["dataset"]
        spec = read(manifest)
        if set(manifest["files"]) != set(files):
            raise ValueError("its files are not those of a release")
    except (ValueError, KeyError, TypeError, RecursionError, FelsinaError) as error:
        raise FelsinaError(
            f"{path}: not a manifest ({type(error).__name__}: {error}); build the release anew"
        ) from error
    if canonical_json(manifest) != content or folder.name != release_id(dataset, content):
        raise FelsinaError(
            f"{path}: sha256 {sha256_bytes(content)[:12]} is not the one in the folder's name "
            f"{folder.name}; the release was changed or renamed, build it anew"
        )
    held = {p.name for p in folder.iterdir()} - {MANIFEST}
    for name in sorted(held ^ set(files)):
        what = "is not in the manifest" if name in held else "is missing"
        raise FelsinaError(f"{folder / name} {what}; the release was changed, build it anew")
    contents = {name: _read(folder / name) for name in files}
    for name, sealed in files.items():
        found = sha256_bytes(contents[name])
        if found != sealed:
            raise FelsinaError(
                f"{folder / name}: sha256 {found[:12]}, sealed as {sealed[:12]}; the release was "
                "changed, build it anew"
            )
    return manifest, contents | {MANIFEST: content}, spec


def _read(path: Path) -> bytes:
    """The bytes of a plain file of bounded size; a pipe would be waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FelsinaError(f"{path}: {error.strerror}; build the release anew") from error
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise FelsinaError(
                f"{path} is no plain file of at most {MOST_BYTES >> 20} MiB; build the release anew"
            )
        return stream.read(MOST_BYTES + 1)


def champion_pointer(home: Path, dataset: str) -> Path:
    """The file that names the release of a dataset that is served."""
    return home / "champions" / f"{dataset}.json"


def releases(home: Path) -> list[Path]:
    """Every release folder under a home, by name; one that is being written has a dot before it."""
    folders = (home / "releases").glob("[!.]*")
    return sorted(p for p in folders if (p / MANIFEST).is_file())


def read_pointer(pointer: Path) -> str:
    """Name of the release that a pointer file names; a broken pointer names none that exists."""
    try:
        return Path(json.loads(pointer.read_bytes())["release"]).name
    except (ValueError, KeyError, TypeError):
        return f"none, {pointer} is broken"


def champions(home: Path, surrogates: bool = False) -> dict[str, Path]:
    """Dataset, or surrogate's name, to the release to serve: the one pointed at, else the newest.

    Args:
        home: the ``mlruns`` folder.
        surrogates: whether surrogates are meant, and not forecasters.
    """
    newest: dict[str, Path] = {}
    meant = [folder for folder in releases(home) if (folder / INPUTS).is_file() == surrogates]
    for folder in sorted(meant, key=lambda p: p.stat().st_mtime):
        newest[folder.name.rpartition("-")[0]] = folder
    for dataset in newest:
        pointer = champion_pointer(home, dataset)
        if pointer.is_file():
            newest[dataset] = home / "releases" / read_pointer(pointer)
    return {dataset: newest[dataset] for dataset in sorted(newest)}
