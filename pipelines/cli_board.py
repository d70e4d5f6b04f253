"""``felsina board``, ``promote``, ``rollback``, ``response``: decisions that the server enforces.

Imports wait until a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Json

board = typer.Typer(
    help="The ethics board: keys, reports, votes, alarms, status.", no_args_is_help=True
)
response = typer.Typer(help="Answers of the service: check one.", no_args_is_help=True)

Folder = Annotated[
    Path | None, typer.Option(help="The board's folder; mlruns/board when left out.")
]
Key = Annotated[Path, typer.Option("--key", help="Your private key file.", show_default=False)]
Release = Annotated[str, typer.Argument(help="A release, as felsina release list names it.")]
Descriptor = Annotated[
    int | None, typer.Option(help="File descriptor to read the key's passphrase from.")
]
Reason = Annotated[str, typer.Option(help="Why; it is kept for good.", show_default=False)]


@board.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="The private key to write; FILE.pub is public.")],
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="Without a passphrase: for machines alone.")
    ] = False,
    passphrase_fd: Descriptor = None,
) -> None:
    """Make a key pair, protected by a passphrase (asked for, or $FELSINA_BOARD_PASSPHRASE)."""
    from pipelines.commands.board import make_key

    make_key(file, unprotected, passphrase_fd)


@board.command()
def init(
    members: Annotated[
        str, typer.Option(help="Public key files, comma separated; a.pub or a.key.pub is member a.")
    ],
    threshold: Annotated[int, typer.Option(help="How many members must agree.", min=1)],
    operator: Annotated[
        Path, typer.Option(help="The operator's private key, which opens the stream.")
    ],
    name: Annotated[str, typer.Option(help="Of the board.")],
    folder: Folder = None,
    passphrase_fd: Descriptor = None,
) -> None:
    """Found a board: its charter, and the stream of its decisions."""
    from pipelines.commands.board import found

    found(members, threshold, operator, name, folder, passphrase_fd)


@board.command()
def show(release: Release, folder: Folder = None, json: Json = False) -> None:
    """What is to be signed: release, digests, the report's verdicts, votes so far."""
    from pipelines.commands.board import show_one

    show_one(release, folder, json)


@board.command()
def sign(
    release: Release,
    key: Key,
    approve: Annotated[bool, typer.Option("--approve", help="Vote to approve.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Vote to reject.")] = False,
    conditions: Annotated[
        list[str] | None, typer.Option(help="A condition, or what stands against; repeatable.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Last day of an approval, such as 2027-12-31 (UTC).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask once more.")] = False,
    folder: Folder = None,
    passphrase_fd: Descriptor = None,
) -> None:
    """Vote; without --conditions and --expires, on the terms of the votes that wait."""
    from pipelines.commands.board import sign_one

    terms = (tuple(conditions or ()), expires)
    sign_one(release, key, approve, reject, terms, yes, folder, passphrase_fd)


@board.command()
def alarm(
    release: Release,
    key: Key,
    reason: Reason,
    folder: Folder = None,
    passphrase_fd: Descriptor = None,
) -> None:
    """Suspend a release at once, alone, until the board votes anew."""
    from pipelines.commands.board import alarm_one

    alarm_one(release, key, reason, folder, passphrase_fd)


@board.command()
def status(folder: Folder = None, json: Json = False) -> None:
    """What is served and until when, votes that wait, what was rejected."""
    from pipelines.commands.board import show_status

    show_status(folder, json)


def promote(
    release: Release, key: Key, folder: Folder = None, passphrase_fd: Descriptor = None
) -> None:
    """Make an approved release the one that is served; running servers see it in a second."""
    from pipelines.commands.board import promote_one

    promote_one(release, key, folder, passphrase_fd)


def rollback(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset.")],
    key: Key,
    reason: Reason,
    folder: Folder = None,
    passphrase_fd: Descriptor = None,
) -> None:
    """Go back to the last release promoted before that is still approved."""
    from pipelines.commands.board import roll_back

    roll_back(dataset, key, reason, folder, passphrase_fd)


@response.command("verify")
def verify_response(
    file: Annotated[Path, typer.Argument(help="An answer of the service, as JSON.")],
    charter: Annotated[
        Path | None, typer.Option("--board", help="The charter; mlruns/board/board.json else.")
    ] = None,
    stream: Annotated[
        Path | None, typer.Option(help="The decisions; decisions.jsonl beside the charter else.")
    ] = None,
) -> None:
    """Whether an answer came from a release that the board had approved; exit 1 if not."""
    from pipelines.commands.response import verify_one

    verify_one(file, charter, stream)
