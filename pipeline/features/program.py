"""The saved steps, applied in order: columns in, columns out. Knows which function does which kind of step, and
which columns may be missing where; nothing of tensors or files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...schemas.inputs import Feature
from ...schemas.steps import AnyStep, ImputeStep, MissingStep, NormalizeStep, OneHotStep, OrdinalStep, PolynomialStep
from ..records import Lists
from . import numeric
from .categories import Column, Unfit, encode, impute, is_missing, one_hot
from .sequences import rows_of

#: One column in, one column out.
_EACH: dict[str, Callable[[Any, int, Any], Any]] = {
    "standard": numeric.standard,
    "robust": numeric.robust,
    "minmax": numeric.minmax,
    "maxabs": numeric.maxabs,
    "power": numeric.power,
    "quantile": numeric.quantile,
    "binarize": numeric.binarize,
    "bins": numeric.bins,
    "function": numeric.function,
    "impute": impute,
    "missing": lambda _step, _place, values: is_missing(values).astype(np.float64),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """`columns`: float64 `[rows]` (or text) by name, those that came in and those the steps gave. `unfit`: rows that a
    step has no value for, with the column and the reason."""

    columns: Mapping[str, Column]
    unfit: tuple[tuple[NDArray[np.int64], str, str], ...] = ()


def run_steps(steps: Sequence[AnyStep], columns: Mapping[str, Column]) -> Prepared:
    """Apply saved steps in order, in float64.

    Args:
        columns: `[rows]` by feature name, NaN or null where a value is missing; not written to.
    """
    known = dict(columns)
    unfit: list[tuple[NDArray[np.int64], str, str]] = []
    with np.errstate(all="ignore"):  # what is not finite is found afterwards, and rejected
        for step in steps:
            taken = [known[name] for name in step.features]
            made, problems = _run(step, taken) if not isinstance(taken[0], Lists) else _run_on_lists(step, taken)
            known.update(zip(step.outputs, made, strict=True))
            unfit += [(rows, name, reason) for name, (rows, reason) in problems]
    return Prepared(columns=known, unfit=tuple(unfit))


def _run(step: AnyStep, taken: list[Any]) -> tuple[list[Column], list[tuple[str, Unfit]]]:
    match step:
        case NormalizeStep():
            return list(numeric.normalize(step, taken)), []
        case PolynomialStep():
            return list(numeric.polynomial(step, taken)), []
        case OrdinalStep() | OneHotStep():
            made: list[Column] = []
            problems: list[tuple[str, Unfit]] = []
            for place, (name, values) in enumerate(zip(step.features, taken, strict=True)):
                codes, unfit = encode(step.encodings[place], values)
                made += [codes] if isinstance(step, OrdinalStep) else one_hot(codes, step.widths[place])
                problems += [(name, problem) for problem in unfit]
            return made, problems
    return [_EACH[step.kind](step, place, values) for place, values in enumerate(taken)], []


def _run_on_lists(step: AnyStep, taken: list[Any]) -> tuple[list[Column], list[tuple[str, Unfit]]]:
    """The same for every step of a sequence; a row is unfit where one of them is."""
    made, problems = _run(step, [lists.values for lists in taken])
    offsets = {name: lists.offsets for name, lists in zip(step.features, taken, strict=True)}
    wrapped = [Lists(values=values, offsets=lists.offsets) for values, lists in zip(made, taken, strict=True)]
    return wrapped, [
        (name, (rows_of(places, offsets[name]), f"has a step that {reason}")) for name, (places, reason) in problems
    ]


def origins(features: Sequence[Feature], steps: Sequence[AnyStep]) -> dict[str, str]:
    """Every column → the raw feature it comes from, the first where there are several: what a message names."""
    found = {feature.name: feature.name for feature in features}
    for step in steps:
        for place, output in enumerate(step.outputs):
            found[output] = found[step.features[_source(step, place)]]
    return found


def encoded(steps: Sequence[AnyStep]) -> set[str]:
    """The columns that a step takes for categories."""
    return {name for step in steps if isinstance(step, OrdinalStep | OneHotStep) for name in step.features}


def _source(step: AnyStep, place: int) -> int:
    match step:
        case OneHotStep():
            return int(np.searchsorted(np.cumsum(step.widths), place, side="right"))
        case PolynomialStep():
            return next((at for at, exponent in enumerate(step.powers[place]) if exponent), 0)
    return place


def kept_when_missing(features: Sequence[str], steps: Sequence[AnyStep], used: Sequence[str]) -> set[str]:
    """The features for which a missing value is a value: none of the columns in `used` is missing because of it."""
    kept = set()
    for feature in features:
        missing = {feature}
        for step in steps:
            for place, output in enumerate(step.outputs):
                if _stays_missing(step, place, missing):
                    missing.add(output)
        if not missing & set(used):
            kept.add(feature)
    return kept


def _stays_missing(step: AnyStep, place: int, missing: set[str]) -> bool:
    match step:
        case ImputeStep() | MissingStep():
            return False
        case OrdinalStep() | OneHotStep():
            source = _source(step, place)
            answer = step.encodings[source].missing
            return step.features[source] in missing and (answer is None or answer == "nan")
        case NormalizeStep():
            return bool(missing & set(step.features))
        case PolynomialStep():
            return any(step.features[at] in missing for at, exponent in enumerate(step.powers[place]) if exponent)
    return step.features[place] in missing
