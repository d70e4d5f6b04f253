"""The reference of the command line, made of the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click
from typer.main import get_command

from docs.site.markdown import flat, table

_HEAD = """\
# The command line

`felsina NOUN VERB`. A dataset is always a folder, `--dataset DIR`; `--json` answers for a machine,
on stdout; progress goes to stderr. Exit 0: done. Exit 1: looked, and the answer is no (an audit
that contradicts a claim, an answer that no board approved). Exit 2: refused, with one line on
stderr that says what was wrong, with which value, and what to do.

This page is made of the code, as `felsina --help` is.
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group below ``felsina`` by its words, in the order of the alphabet."""
    from pipelines.cli import app

    def below(words: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
        for name, command in sorted(group.commands.items()):
            yield f"{words} {name}", command
            if isinstance(command, click.Group):
                yield from below(f"{words} {name}", command)

    root = get_command(app)
    assert isinstance(root, click.Group)
    return below("felsina", root)


def command_page() -> str:
    """The tree of commands with their options."""
    parts = [_HEAD]
    for words, command in commands():
        heading = "#" * min(words.count(" ") + 1, 4)
        parts.append(f"{heading} {words}\n\n{flat(command.help)}\n")
        if not isinstance(command, click.Group):
            parts.append(_command(words, command))
    return "\n".join(parts)


def _command(words: str, command: click.Command) -> str:
    given = [one for one in command.params if one.name != "help"]
    usage = [words, *(_usage(one) for one in given if one.required or _positional(one))]
    usage += ["[OPTIONS]"] if any(not one.required for one in given) else []
    rows = [(_names(one), flat(getattr(one, "help", "")), _left_out(one)) for one in given]
    more = "\n".join(f"- {flat(one)}" for one in (command.epilog or "").split("\n\n") if one)
    options = table(("option", "what", "left out"), rows)
    return f"```text\n{' '.join(usage)}\n```\n\n{options}\n{more}\n"


def _positional(one: click.Parameter) -> bool:
    return isinstance(one, click.Argument)


def _usage(one: click.Parameter) -> str:
    if _positional(one):
        return one.make_metavar(click.Context(click.Command(None)))
    return f"{one.opts[0]} {_kind(one)}"


def _names(one: click.Parameter) -> str:
    if _positional(one):
        return f"`{_usage(one)}`"
    both = ", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts])
    return both if isinstance(one, click.Option) and one.is_flag else f"{both} {_kind(one)}"


def _kind(one: click.Parameter) -> str:
    choices = getattr(one.type, "choices", None)
    return "\\|".join(choices) if choices else (one.metavar or one.type.name.upper())


def _left_out(one: click.Parameter) -> str:
    if one.required:
        return "needed"
    plain = isinstance(one.default, str | int | float) and not isinstance(one.default, bool)
    return f"`{one.default}`" if plain and one.default != "" else ""
