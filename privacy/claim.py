"""What a ledger's claims mean, in words for those whom they protect.

Everything said follows from the entries, and every number is rounded to the side that promises
less. The two readings of (epsilon, delta) hold exactly: an outcome's probability with a unit's data
is at most e^epsilon times that without, plus delta (Dwork and Roth 2014, doi 10.1561/0400000042,
definition 2.4); and who guesses, from even odds, whether they were used is right with probability
at most (e^epsilon + delta) / (1 + e^epsilon) (Kairouz et al. 2015, arXiv 1311.0776, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction

from models.errors import FelsinaError
from privacy.accounts import Accounts
from privacy.entries import Claim, Unit
from privacy.population import BudgetKey, Population, key_of
from privacy.replay import composed
from privacy.wording import ENGLISH, ITALIAN, Words

MOST_NAMES = 12
"""Runs or releases that a statement names; of more it tells the last ones and the number."""
WEAK = 4.0
"""Above this epsilon a statement says that it promises little."""
_LARGEST = 700.0
"""Beyond this epsilon its exponential is no number; nothing is promised long before."""


@dataclass(frozen=True)
class Coverage:
    """What a claim covers.

    Attributes:
        units: how many there are, a figure of the agreement.
        names: of the data set, earlier ones too.
        runs: that were charged.
        releases: that were made from them.
    """

    units: int
    names: tuple[str, ...]
    runs: tuple[str, ...]
    releases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A claim in words; each of the last two lists says one thing a sentence or two.

    Attributes:
        en: whom it protects, what epsilon and delta mean, and over what.
        it: the same in Italian.
        not_protected_en: what is not protected.
        not_protected_it: the same in Italian.
    """

    en: str
    it: str
    not_protected_en: tuple[str, ...]
    not_protected_it: tuple[str, ...]

    def to_dict(self) -> dict[str, str | list[str]]:
        """As JSON has it."""
        return {k: v if isinstance(v, str) else list(v) for k, v in asdict(self).items()}


def claims_of(accounts: Accounts, partner: str = "") -> list[Claim]:
    """What would be claimed now of each data set with a budget.

    Args:
        accounts: what a ledger adds up to.
        partner: of this partner alone; of all, when empty.

    Raises:
        FelsinaError: if there is nothing to claim.
    """
    claims = []
    for population in accounts.populations():
        if population.budget is not None and partner in ("", population.key.partner):
            delta = accounts.budget(population.key).delta
            epsilon = composed(population.steps, delta).pld
            claims.append(Claim(**population.key._asdict(), epsilon=epsilon, delta=delta))
    if not claims:
        known = ", ".join(dict.fromkeys(p.key.partner for p in accounts.populations())) or "none"
        whose = f"of partner {partner} " if partner else ""
        raise FelsinaError(
            f"no data set {whose}has a budget, so there is nothing to claim; partners with data "
            f"sets are: {known}"
        )
    return claims


def coverage(accounts: Accounts, claims: Sequence[Claim]) -> dict[BudgetKey, Coverage]:
    """What each claim covers, by the ledger."""
    return {
        key_of(claim): _coverage(accounts, accounts.population(key_of(claim))) for claim in claims
    }


def _coverage(accounts: Accounts, population: Population) -> Coverage:
    made = (
        claimed.release
        for claimed in accounts.claims
        if claimed.claim.partner == population.key.partner
        and claimed.claim.dataset in population.names
    )
    releases = tuple(dict.fromkeys(made))
    return Coverage(population.units, population.names, tuple(population.runs), releases)


def statement(
    claims: Sequence[Claim],
    units: Mapping[BudgetKey, Coverage],
    new: bool = False,
    alone: bool = False,
    own: str = "",
) -> Statement:
    """Say what claims mean to a lay reader, in English and Italian.

    Args:
        claims: at least one.
        units: what each covers: how many units, and which runs and releases.
        new: whether this stands in a release that the ledger does not list yet.
        alone: whether claims are of their runs alone, whatever else the ledger lists.
        own: the city's own data set that a federation's release is calibrated and tested on.

    Raises:
        FelsinaError: if there is no claim.
    """
    if not claims:
        raise FelsinaError("no claim, so there is nothing to say; name a data set with a budget")
    english, italian = (
        "\n\n".join(_told(claim, units[key_of(claim)], words, new, alone) for claim in claims)
        for words in (ENGLISH, ITALIAN)
    )
    kinds: list[Unit] = list(dict.fromkeys(claim.unit for claim in claims))
    return Statement(
        english,
        italian,
        tuple(ENGLISH.not_protected(kinds, own)),
        tuple(ITALIAN.not_protected(kinds, own)),
    )


def _told(claim: Claim, covered: Coverage, words: Words, new: bool, alone: bool) -> str:
    one, many = words.units[claim.unit]
    earlier = [name for name in covered.names if name != claim.dataset]
    said = {
        "one": one,
        "many": many,
        "count": words.number(covered.units),
        "partner": claim.partner,
        "dataset": claim.dataset
        + (words.continued.format(names=", ".join(earlier)) if earlier else ""),
        "epsilon": words.number(_up(claim.epsilon, decimals=2)),
        "times": words.number(odds(claim.epsilon)),
        "in_so_many": words.number(one_in(claim.delta)),
        "right": words.number(guesses(claim.epsilon, claim.delta)),
        "runs": _listed(covered.runs, words),
        "releases": _listed((*covered.releases, *([words.this] if new else [])), words),
    }
    parts = [words.whom]
    if not covered.runs:
        parts += [words.nothing]
    else:
        parts += [words.how, words.odds, words.guess]
        parts += [words.weak] if claim.epsilon > WEAK else []
        made = covered.releases or new
        parts += [words.alone if alone else words.over if made else words.over_runs]
    return " ".join(part.format(**said) for part in parts)


def odds(epsilon: float) -> float:
    """How many times as likely a unit's data make anything, rounded up to three figures."""
    times = math.exp(min(epsilon, _LARGEST))
    return _up(times, decimals=2 - math.floor(math.log10(times)))


def guesses(epsilon: float, delta: float) -> int:
    """Of 100 guesses from even odds whether a unit's data were used, how many at most are right."""
    wrong = (1 - delta) / (1 + math.exp(min(epsilon, _LARGEST)))
    return math.ceil(100 * (1 - wrong) - 1e-9)


def one_in(delta: float) -> int:
    """N of the 1 chance in N that delta is, rounded to the side of more."""
    return math.floor(1 / Fraction(repr(delta)))


def _up(value: float, decimals: int) -> float:
    """Rounded up; a last digit that is there for the computer alone does not count."""
    scale = 10.0**decimals
    return math.ceil(value * scale * (1 - 1e-12)) / scale


def _listed(names: Sequence[str], words: Words) -> str:
    shown = list(names[-MOST_NAMES:])
    if more := len(names) - len(shown):
        shown.insert(0, words.more.format(count=words.number(more)))
    return ", ".join(shown)
