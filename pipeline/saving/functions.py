"""FunctionTransformer with functions of numpy, and their arguments → steps. Does not import scikit-learn."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...schemas.steps import ClipStep, FunctionStep, ReplaceStep, RoundStep
from ..errors import BundleError
from ..features.numeric import FUNCTIONS
from .step_list import StepList

Arguments = Mapping[str, Any]
_LARGEST = float(np.finfo(np.float64).max)


def read_function(to: StepList, fitted: Any, inputs: list[str]) -> list[str]:
    """Append a FunctionTransformer as one step; none if it has no function.

    Raises:
        BundleError: the function or one of its arguments is not supported.
    """
    if fitted.func is None:
        return inputs
    arguments: Arguments = fitted.kw_args or {}
    for name, (accepted, read) in _WITH_ARGUMENTS.items():
        if fitted.func is getattr(np, name):
            _refuse_arguments(name, arguments, accepted)
            return read(to, arguments, inputs)
    names = [name for name in FUNCTIONS if fitted.func is getattr(np, name)]
    if not names:
        raise BundleError(
            f"FunctionTransformer of {getattr(fitted.func, '__name__', fitted.func)!r} cannot be saved;"
            f" use one of numpy's {', '.join([*FUNCTIONS, *_WITH_ARGUMENTS])}"
        )
    _refuse_arguments(names[0], arguments, ())
    return to.step(FunctionStep, inputs, len(inputs), function=names[0])


def _clip(to: StepList, arguments: Arguments, inputs: list[str]) -> list[str]:
    for old, new in (("a_min", "min"), ("a_max", "max")):
        if old in arguments and new in arguments:
            raise BundleError(f"FunctionTransformer of 'clip' has the arguments {old!r} and {new!r}; use one of them")
    low = _of_each("clip", "min", arguments.get("a_min", arguments.get("min")), -np.inf, len(inputs))
    high = _of_each("clip", "max", arguments.get("a_max", arguments.get("max")), np.inf, len(inputs))
    crossed = np.flatnonzero(low > high)
    if len(crossed):
        at = int(crossed[0])
        raise BundleError(
            f"FunctionTransformer of 'clip' has the lower bound {low[at]:g} above the upper bound {high[at]:g}, for"
            " which numpy and pandas return different values; swap them"
        )
    bounds = {
        name: [float(bound) if np.isfinite(bound) else None for bound in numbers]
        for name, numbers in (("low", low), ("high", high))
    }
    return to.step(ClipStep, inputs, len(inputs), **bounds)


def _round(to: StepList, arguments: Arguments, inputs: list[str]) -> list[str]:
    decimals = arguments.get("decimals", 0)
    if isinstance(decimals, bool) or not isinstance(decimals, int | np.integer):
        raise BundleError(f"FunctionTransformer of 'round' has decimals={decimals!r}; use a whole number")
    return to.step(RoundStep, inputs, len(inputs), decimals=int(decimals))


def _nan_to_num(to: StepList, arguments: Arguments, inputs: list[str]) -> list[str]:
    if not arguments.get("copy", True):
        raise BundleError("FunctionTransformer of 'nan_to_num' has copy=False, which changes its input; leave it out")
    defaults = {"nan": 0.0, "posinf": _LARGEST, "neginf": -_LARGEST}
    numbers = {
        name: _of_each("nan_to_num", name, arguments.get(name), default, len(inputs)).tolist()
        for name, default in defaults.items()
    }
    return to.step(ReplaceStep, inputs, len(inputs), **numbers)


#: Functions of numpy by name, with the arguments that they may have.
_WITH_ARGUMENTS: dict[str, tuple[tuple[str, ...], Callable[[StepList, Arguments, list[str]], list[str]]]] = {
    "clip": (("a_min", "a_max", "min", "max"), _clip),
    "round": (("decimals",), _round),
    "around": (("decimals",), _round),
    "nan_to_num": (("copy", "nan", "posinf", "neginf"), _nan_to_num),
}


def _refuse_arguments(function: str, arguments: Arguments, accepted: tuple[str, ...]) -> None:
    other = [name for name in arguments if name not in accepted]
    if other:
        use = f"use only {', '.join(accepted)}" if accepted else "call it without arguments"
        raise BundleError(f"FunctionTransformer of {function!r} with argument {other[0]!r} cannot be saved; {use}")


def _of_each(function: str, name: str, value: Any, default: float, count: int) -> np.ndarray:
    """An argument as one number for each column, float64 `[columns]`."""
    try:
        numbers = np.broadcast_to(np.asarray(default if value is None else value, dtype=np.float64), count)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"FunctionTransformer of {function!r} has {name}={value!r}; use a number, or one for each of {count}"
            " columns"
        ) from error
    if np.isnan(numbers).any():
        raise BundleError(f"FunctionTransformer of {function!r} has {name}=nan; use a number")
    return numbers
