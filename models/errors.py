"""The one error that people see; not in the contracts, so that checking a seal loads no numpy."""


class FelsinaError(Exception):
    """Bad input: says what is wrong, with which value, and what to do; the CLI prints one line."""
