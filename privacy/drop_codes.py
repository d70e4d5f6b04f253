"""Why a partner's reply was not used, or it was not asked: all that is ever told of it."""

from __future__ import annotations

ERROR = "error"
UNKNOWN = "unknown-partner"
DUPLICATE = "duplicate"
STALE = "stale-round"
LATE = "late"
MISSING_KEY = "missing-array"
EXTRA_KEY = "extra-array"
DTYPE = "wrong-dtype"
SHAPE = "wrong-shape"
FINITE = "not-finite"
NORM = "norm-too-large"
WEIGHT = "bad-weight"
BUNDLE = "other-bundle"
BUDGET = "budget-spent"
AGREEMENT = "no-agreement"
WITHDRAWN = "withdrawn"

CODES = {
    ERROR: "the partner's own code failed",
    UNKNOWN: "not among the round's partners",
    DUPLICATE: "a second reply to the same round",
    STALE: "a reply to another round",
    LATE: "no reply before the deadline",
    MISSING_KEY: "an array of the model is missing",
    EXTRA_KEY: "an array that the model does not have",
    DTYPE: "an array is not of 32-bit floats",
    SHAPE: "an array has another shape than the model's",
    FINITE: "a value is not a number, or infinite",
    NORM: "the update is longer than a round's may be",
    WEIGHT: "the weight is no number from above 0 to what was agreed",
    BUNDLE: "the app is another than the one that was agreed to",
    BUDGET: "the partner's budget of privacy is spent",
    AGREEMENT: "no agreement holds",
    WITHDRAWN: "the partner withdrew",
}
"""What each says."""
