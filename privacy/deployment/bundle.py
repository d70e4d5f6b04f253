"""The app bundle that the city's SuperLink runs: four small files, the same wherever it is built.

It holds no model, no data and no training code: it names the city's round loop in the installed
package. No partner runs any of it: a partner's node calls the app of its own installation and looks
at the bundle only to refuse rounds of another one. So what a partner pins is the city's side.
"""

from __future__ import annotations

import zipfile
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

from flwr.cli.build import build_fab_from_files

from models.errors import FelsinaError
from models.record import sha256_bytes

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "felsina-federation"
version = "{version}"
description = "The city's rounds of Felsina {version}; partners run their own installation"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41.0,<1.42"]

[tool.hatch.build.targets.wheel]
packages = ["felsina_federation"]

[tool.flwr.app]
publisher = "felsina"
flwr-version-target = "1.41.0"
fab-format-version = 1
fab-include = ["felsina_federation/**/*.py", "LICENSE"]

[tool.flwr.app.components]
serverapp = "felsina_federation.apps:city"
clientapp = "felsina_federation.apps:partner"

[tool.flwr.app.config]
"""
_LICENSE = "Apache License 2.0, as the package felsina that it belongs to.\n"
_APPS = '''\
"""Both ends of the federation."""

from flwr.clientapp import ClientApp

from privacy.deployment.city_app import app as city

partner = ClientApp()
"""Answers nothing: a partner runs the app of its own installation."""

__all__ = ["city", "partner"]
'''


def sources() -> dict[str, bytes]:
    """Every file of the bundle."""
    texts = {
        "pyproject.toml": _PROJECT.format(version=version("felsina")),
        "LICENSE": _LICENSE,
        "felsina_federation/__init__.py": "",
        "felsina_federation/apps.py": _APPS,
    }
    return {name: text.encode() for name, text in texts.items()}


def write_sources(folder: Path) -> None:
    """As a folder that ``flwr run`` takes."""
    for name, content in sources().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def build() -> bytes:
    """The bundle; the same bytes for one version of the package and of zlib."""
    files: dict[str, bytes | Path] = dict(sources())
    return build_fab_from_files(files)[0]


def contents(bundle: bytes) -> dict[str, str]:
    """Name and SHA-256 of each file in a bundle.

    Raises:
        FelsinaError: if it is no bundle.
    """
    try:
        with zipfile.ZipFile(BytesIO(bundle)) as archive:
            return {name: sha256_bytes(archive.read(name)) for name in sorted(archive.namelist())}
    except zipfile.BadZipFile as error:
        raise FelsinaError("the bundle is no archive; get it again from the city") from error
