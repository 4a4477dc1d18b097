"""Values of options: valid ones are accepted, others are refused with the rule. Numbers of rows and bytes are tested in
tests/jobs/test_numbers_of_flags.py."""

from collections.abc import Callable

import pytest
from scoreline.pipeline.options import RejectBudget
from scoreline.pipeline.planning.option_values import (
    constant,
    drift_limit,
    keys,
    positive,
    reject_budget,
    row_count,
    threshold,
)


@pytest.mark.parametrize(
    ("parse", "value", "wanted"),
    [
        (keys, "all", None),
        (keys, "none", ()),
        (keys, "a, b", ("a", " b")),
        (keys, ["a,b", "none"], ("a,b", "none")),
        (row_count, "auto", None),
        (positive, 3, 3),
        (positive, " 12 ", 12),
        (threshold, 0.25, ("", 0.25)),
        (threshold, "a=b=0.5", ("a=b", 0.5)),
        (threshold, ' "a b" =1', ('"a b"', 1.0)),
        (reject_budget, 3, RejectBudget(count=3)),
        (constant, "a=b={run_date}", ("a", "b={run_date}")),
        (constant, "a=", ("a", "")),
        (constant, 'a={"x": 1} {bundle_digest}', ("a", '{"x": 1} {bundle_digest}')),
        (drift_limit, 0.25, 0.25),
        (drift_limit, " 1 ", 1.0),
    ],
)
def test_accepted(parse: Callable[[object], object], value: object, wanted: object) -> None:
    """In any spelling."""
    assert parse(value) == wanted


@pytest.mark.parametrize(
    ("parse", "value", "says"),
    [
        (keys, "a,,b", "contains an empty name"),
        (keys, ["a", "a"], "a name twice"),
        (positive, "0", "use 1 or more"),
        (drift_limit, "0", "is not a PSI; use a number above 0"),
        (drift_limit, "inf", "is not a PSI"),
        (drift_limit, "25%", "is not a PSI"),
        (positive, "-1", "not a valid integer"),
        (positive, 1.5, "not a valid integer"),
        (threshold, "a", "is not a number"),
        (threshold, "nan", "is not a number"),
        (threshold, "=0.5", "is not a number"),
        (threshold, '"a=0.5', "TOML key"),
        (constant, "a", "not a column and its text; use NAME=TEXT"),
        (constant, "=a", "not a column and its text; use NAME=TEXT"),
        (constant, "a={digest}", r"contains {digest}; use {run_date} or {bundle_digest}"),
    ],
)
def test_refused(parse: Callable[[object], object], value: object, says: str) -> None:
    """The message has the value and valid alternatives."""
    with pytest.raises(ValueError, match=says):
        parse(value)
