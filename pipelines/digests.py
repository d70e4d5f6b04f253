"""Digests of what decides what is made: data, code, packages. No package of models is loaded."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from models.record import canonical_json, sha256_bytes, sha256_file

ROOT = Path(__file__).parents[1]
DATASET_FILES = ("dataset.toml", "nodes.csv", "edges.csv", "series.parquet", "forcings.parquet")
"""Of a dataset folder, as ``training.dataset`` reads them."""
PACKAGES = ("torch", "torch-geometric", "lightning", "onnx", "onnxruntime", "numpy", "pandas")
_SOURCES = {".py", ".html", ".css", ".toml"}


def data_digests(folder: Path) -> dict[str, str]:
    """File name to sha256 of a dataset folder, as an opened dataset has them."""
    found = (folder / name for name in DATASET_FILES)
    return {path.name: sha256_file(path) for path in found if path.is_file()}


@lru_cache
def code_digest() -> str:
    """Digest of the sources that decide what a model becomes: no simulator, and no tracking."""
    found = (p for room in ("models", "training") for p in (ROOT / room).rglob("*.py"))
    aside = {"physics", "tracking.py"}
    return _digest([p for p in found if not aside & set(p.relative_to(ROOT).parts)])


@lru_cache
def sources_digest(*places: str) -> str:
    """Digest of other sources: files and folders, by their paths under the root."""
    found: list[Path] = []
    for place in places:
        path = ROOT / place
        found += path.rglob("*") if path.is_dir() else [path]
    return _digest([path for path in found if path.suffix in _SOURCES])


@lru_cache
def packages() -> dict[str, str]:
    """Versions of the packages that decide what a model becomes."""
    return {name: version(name) for name in PACKAGES}


def _digest(files: list[Path]) -> str:
    named = {str(path.relative_to(ROOT)): sha256_file(path) for path in sorted(files)}
    return sha256_bytes(canonical_json(named))
