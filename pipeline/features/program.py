"""Applies the saved steps to columns in order. Determines which function implements each kind of step, and which
columns may have missing values. Independent of tensors and files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.inputs import Feature
from ...schemas.steps import (
    AnyStep,
    FunctionStep,
    ImputeStep,
    LinearStep,
    MissingStep,
    NormalizeStep,
    OneHotStep,
    OrdinalStep,
    PolynomialStep,
    PowerStep,
    ReplaceStep,
    SplineStep,
    TextCountsStep,
    WeightStep,
)
from ..arrays import stretches
from ..records import Lists
from . import numeric
from .categories import Column, Unfit, encode, impute, is_missing, one_hot
from .columns import Columns
from .linear import linear, linear_of_terms
from .sequences import rows_of
from .splines import outside, spline
from .terms import normalized, weighted
from .text_counts import text_counts

#: Steps that map each column of numbers to one column, alone or several at once.
_TOGETHER: dict[str, Callable[[Any, numeric.Where, Any], Any]] = {
    "standard": numeric.standard,
    "robust": numeric.robust,
    "minmax": numeric.minmax,
    "maxabs": numeric.maxabs,
    "weight": numeric.weight,
    "binarize": numeric.binarize,
    "function": numeric.function,
    "round": numeric.rounded,
    "impute": numeric.impute,
    "missing": lambda _step, _where, values: np.isnan(values).astype(np.float64),
}
#: Steps that map each column to one column, alone.
_EACH: dict[str, Callable[[Any, int, Any], Any]] = {
    "power": numeric.power,
    "quantile": numeric.quantile,
    "bins": numeric.bins,
    "clip": numeric.clip,
    "replace": numeric.replace,
    "impute": impute,
    "missing": lambda _step, _index, values: is_missing(values).astype(np.float64),
}
#: Which numbers are refused, and what they are called.
_Test = tuple[Callable[[Any], NDArray[np.bool_]], str]
#: Steps that may make a finite number infinite, and the functions that do not.
_MAY_OVERFLOW = {
    *("standard", "robust", "minmax", "maxabs", "power", "weight", "round", "polynomial", "linear", "spline"),
}
_BOUNDED_FUNCTIONS = {"abs", "cbrt", "negative", "sign", "sqrt"}
#: Steps that take infinite numbers, as FunctionTransformer and weights do; all else of scikit-learn raises.
_TAKE_INFINITE = {"function", "clip", "round", "replace", "weight"}
#: Steps on whose missing values scikit-learn raises.
_TAKE_NO_MISSING = {"normalize", "polynomial", "linear", "binarize", "bins"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """`columns`: float64 `[rows]` (or text) by name, both the inputs and the outputs of steps. `unfit`: rows for which
    a step has no value, with the column and the reason."""

    columns: Columns
    unfit: tuple[tuple[NDArray[np.int64], str, str], ...] = ()


def run_steps(steps: Sequence[AnyStep], columns: Mapping[str, Column]) -> Prepared:
    """Apply saved steps in order, in float64.

    Args:
        columns: `[rows]` by feature name, NaN or null where a value is missing; not modified.
    """
    known = Columns(columns)
    unfit: list[tuple[NDArray[np.int64], str, str]] = []
    unbounded: set[str] = set()
    with np.errstate(all="ignore"):  # values that are not finite are found later and rejected
        for step in steps:
            if _run_on_terms(step, known):
                continue
            taken = known.dense(step.features)
            unfit += _refused(step, taken, unbounded)
            if _may_overflow(step) or (_takes_infinite(step) and not unbounded.isdisjoint(step.features)):
                unbounded.update(step.outputs)
            made, problems = _run(step, taken) if not isinstance(taken[0], Lists) else _run_on_lists(step, taken)
            known.add(step.outputs, made)
            unfit += [(rows, name, reason) for name, (rows, reason) in problems]
    return Prepared(columns=known, unfit=tuple(unfit))


def _may_overflow(step: AnyStep) -> bool:
    if isinstance(step, FunctionStep):
        return step.function not in _BOUNDED_FUNCTIONS
    return step.kind in _MAY_OVERFLOW


def _takes_infinite(step: AnyStep) -> bool:
    return step.zeros_if_missing if isinstance(step, SplineStep) else step.kind in _TAKE_INFINITE


def _takes_no_missing(step: AnyStep) -> bool:
    return not step.zeros_if_missing if isinstance(step, SplineStep) else step.kind in _TAKE_NO_MISSING


def _refused(step: AnyStep, taken: Sequence[Any], unbounded: set[str]) -> Iterator[tuple[NDArray[np.int64], str, str]]:
    """The rows with numbers on which a step of scikit-learn raises: a later one could make plausible numbers of them.

    Args:
        unbounded: the columns that may have infinite numbers.
    """
    infinite: list[_Test] = [] if _takes_infinite(step) else [(np.isinf, "infinite")]
    tests: list[_Test] = []
    if isinstance(step, PowerStep) and step.method == "box-cox":
        tests.append((lambda values: values <= 0, "not above 0"))
    if _takes_no_missing(step):
        tests.append((np.isnan, "not a number"))
    if not tests and (not infinite or unbounded.isdisjoint(step.features)):
        return
    for name, column in zip(step.features, taken, strict=True):
        values = column.values if isinstance(column, Lists) else column
        for is_refused, what in [*infinite, *tests] if name in unbounded else tests:
            if len(found := np.flatnonzero(is_refused(values))):
                rows = rows_of(found, column.offsets) if isinstance(column, Lists) else found
                has = "has a value that is" if isinstance(column, Lists) else "is"
                yield rows, name, f"{has} {what} between two preparation steps"


def _run_on_terms(step: AnyStep, columns: Columns) -> bool:
    """Add the outputs of a step that makes terms of a text, or takes them as they are. Returns False for other steps
    and columns."""
    if isinstance(step, TextCountsStep):
        columns.add_terms(step.outputs, text_counts(step, columns[step.features[0]]))
        return True
    if not isinstance(step, WeightStep | NormalizeStep | LinearStep) or (terms := columns.terms(step.features)) is None:
        return False
    match step:
        case WeightStep():
            columns.add_terms(step.outputs, weighted(step, terms))
        case NormalizeStep():
            columns.add_terms(step.outputs, normalized(step, terms))
        case LinearStep(mean=None):
            columns.add(step.outputs, linear_of_terms(step, terms))
        case _:
            return False
    return True


def _run(step: AnyStep, taken: list[Any]) -> tuple[list[Column], list[tuple[str, Unfit]]]:
    match step:
        case NormalizeStep():
            return list(numeric.normalize(step, taken)), []
        case PolynomialStep():
            return list(numeric.polynomial(step, taken)), []
        case LinearStep():
            return list(linear(step, taken)), []
        case SplineStep():
            splines = [made for index, values in enumerate(taken) for made in spline(step, index, values)]
            beyond = [(name, outside(step, index, taken[index])) for index, name in enumerate(step.features)]
            return splines, [(name, (rows, "is outside of the spline's knots")) for name, rows in beyond if len(rows)]
        case OrdinalStep() | OneHotStep():
            made: list[Column] = []
            problems: list[tuple[str, Unfit]] = []
            for index, (name, values) in enumerate(zip(step.features, taken, strict=True)):
                codes, unfit = encode(step.encodings[index], values)
                made += [codes] if isinstance(step, OrdinalStep) else one_hot(codes, step.widths[index])
                problems += [(name, problem) for problem in unfit]
            return made, problems
    return _each(step, taken), []


def _each(step: AnyStep, taken: Sequence[Column]) -> list[Column]:
    """The results of a step that maps each column to one column."""
    if step.kind not in _TOGETHER:
        return [_EACH[step.kind](step, index, values) for index, values in enumerate(taken)]
    made: list[Column] = []
    for where, values in stretches(taken):
        if isinstance(where, slice):
            made += list(_TOGETHER[step.kind](step, where, values))
        else:
            made.append(_EACH.get(step.kind, _TOGETHER[step.kind])(step, where, values))
    return made


def _run_on_lists(step: AnyStep, taken: list[Any]) -> tuple[list[Column], list[tuple[str, Unfit]]]:
    """Run a step on the values of lists; a row is unfit if one of its values is."""
    made, problems = _run(step, [lists.values for lists in taken])
    offsets = {name: lists.offsets for name, lists in zip(step.features, taken, strict=True)}
    wrapped = [Lists(values=values, offsets=lists.offsets) for values, lists in zip(made, taken, strict=True)]
    return wrapped, [
        (name, (rows_of(positions, offsets[name]), f"has a step that {reason}"))
        for name, (positions, reason) in problems
    ]


def origins(features: Sequence[Feature], steps: Sequence[AnyStep]) -> dict[str, str]:
    """Every column → the raw feature that it is computed from, for messages; the first if there are several."""
    found = {feature.name: feature.name for feature in features}
    for step in steps:
        for index, output in enumerate(step.outputs):
            found[output] = found[step.features[_source(step, index)]]
    return found


def encoded(steps: Sequence[AnyStep]) -> set[str]:
    """The columns that a step treats as categories."""
    return {name for step in steps if isinstance(step, OrdinalStep | OneHotStep) for name in step.features}


def _source(step: AnyStep, index: int) -> int:
    match step:
        case OneHotStep():
            return int(np.searchsorted(np.cumsum(step.widths), index, side="right"))
        case PolynomialStep():
            return next((position for position, exponent in enumerate(step.powers[index]) if exponent), 0)
        case LinearStep() | TextCountsStep():
            return 0
        case SplineStep():
            return index // step.width
    return index


def kept_when_missing(features: Sequence[str], steps: Sequence[AnyStep], used: Sequence[str]) -> set[str]:
    """The features whose missing values are allowed: none of the columns in `used`, or of those of a step that takes no
    missing values, is missing because of them."""
    causes = {feature: frozenset([feature]) for feature in features}
    none: frozenset[str] = frozenset()
    refused = none
    for step in steps:
        any_of_all = none.union(*(causes.get(name, none) for name in step.features))  # once, for thousands of outputs
        if _takes_no_missing(step):
            refused |= any_of_all
        for index, output in enumerate(step.outputs):
            names = _missing_with(step, index)
            found = [any_of_all] if names is step.features else [causes.get(name, none) for name in names]
            causes[output] = found[0] if len(found) == 1 else none.union(*found)
    return set(features) - refused.union(*(causes.get(name, none) for name in used))


def _missing_with(step: AnyStep, index: int) -> Sequence[str]:
    """The columns that, if one is missing, leave an output missing."""
    match step:
        case ImputeStep() | MissingStep() | ReplaceStep():
            return ()
        case NormalizeStep() | LinearStep() | TextCountsStep():
            return step.features
        case SplineStep():
            return () if step.zeros_if_missing else (step.features[_source(step, index)],)
        case OrdinalStep() | OneHotStep():
            source = _source(step, index)
            answer = step.encodings[source].missing
            return (step.features[source],) if answer is None or answer == "nan" else ()
        case PolynomialStep():
            return [step.features[position] for position, exponent in enumerate(step.powers[index]) if exponent]
    return (step.features[index],)
