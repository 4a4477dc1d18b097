"""What `save_bundle` is told of a model's outputs → the heads of the bundle, and whether a sample's outputs are what
they are said to be. Joins features and schemas; knows nothing of files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from pydantic import ValidationError

from ...schemas.heads import (
    AnyHead,
    BinaryHead,
    Bounds,
    GenerationHead,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TaggingHead,
)
from ..bundle.bundle import first_problem
from ..errors import BundleError, one_line
from .binding import bind_target

Task = Literal["binary", "multiclass", "multilabel", "regression", "tagging", "generation"]
#: What `generate=` may say.
GENERATE_WORDS = ("start", "end", "steps", "beams", "length_penalty")
Outputs = Literal["logits", "probabilities", "log_probabilities"]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedHead:
    """A head, and the user's own way back to the target's unit: `[rows, targets]` → the same shape."""

    head: AnyHead
    to_unit: Callable[[np.ndarray], np.ndarray]


def make_heads(heads: Mapping[str, Mapping[str, Any]] | None, alone: Mapping[str, Any]) -> list[NamedHead]:
    """Several heads by name, or the one that the arguments of `save_bundle` describe.

    Raises:
        BundleError: both, neither, or a head that does not hold together.
    """
    said = {name: value for name, value in alone.items() if value is not None}
    if heads is None:
        return [make_head("output", **said)]
    if said:
        raise BundleError(f"{sorted(said)[0]}= belongs into heads=, to the head that it describes")
    if not isinstance(heads, Mapping) or not heads:
        raise BundleError('heads is a mapping of names: heads={"fraud": {"task": "binary", "labels": ["no", "yes"]}}')
    made = []
    for name, arguments in heads.items():
        if not isinstance(arguments, Mapping):
            raise BundleError(f"head {name!r} is {arguments!r}, no mapping of its arguments")
        try:
            made.append(make_head(str(name), **arguments))
        except TypeError as error:
            raise BundleError(f"head {name!r}: {one_line(error).replace('make_head()', 'it')}") from error
        except BundleError as error:
            raise BundleError(f"head {name!r}: {error}") from error
    return made


def make_head(
    name: str,
    *,
    task: Task | None = None,
    labels: Sequence[Any] | None = None,
    outputs: Outputs | None = None,
    output: int | str | list[int | str] = 0,
    threshold: float | Sequence[float] | Mapping[Any, float] | None = None,
    target_scaler: Any = None,
    quantiles: Sequence[float] | None = None,
    spread: Literal["variance", "log_variance", "std"] | None = None,
    bounds: Any = None,
    out_of_bounds: Literal["count", "reject"] | None = None,
    generate: Mapping[str, Any] | None = None,
) -> NamedHead:
    """One head, from the arguments that `save_bundle` describes.

    Raises:
        BundleError: arguments that do not go together, or values that no bundle can hold.
    """
    plain = _plain_labels(labels)
    threshold, quantiles = _listed(threshold), _listed(quantiles)
    if task is None or task not in get_args(Task):
        raise BundleError(f"task {task!r} is not known; say {', '.join(get_args(Task))}")
    if task != "regression" and len(plain) < (1 if task == "multilabel" else 2):
        raise BundleError(f"{task} needs its labels, in the order of the model's outputs: labels=['no', 'yes']")
    _refuse(task, "regression", target_scaler=target_scaler, quantiles=quantiles, spread=spread)
    _refuse(task, "binary or multilabel", threshold=threshold)
    _refuse(task, "generation", generate=generate)
    within = _bounds(task, bounds, out_of_bounds, plain)
    common: dict[str, Any] = {"name": name, "output": output, "bounds": within}
    if task == "regression":
        return _described(lambda: _regression(common, plain, target_scaler, quantiles, spread))
    common |= {"outputs": outputs or "logits", "labels": plain}
    if task == "generation":
        common |= _generation(generate, plain)
    return _described(lambda: NamedHead(head=_classes(task, common, threshold), to_unit=lambda values: values))


def _regression(
    common: dict[str, Any], labels: list[Any], target_scaler: Any, quantiles: Sequence[float] | None, spread: Any
) -> NamedHead:
    targets = [str(label) for label in labels]
    rescale, to_unit = bind_target(target_scaler, max(1, len(targets)))
    head = RegressionHead(
        **common, targets=targets, rescale=rescale, quantiles=[float(q) for q in quantiles or ()], spread=spread
    )
    return NamedHead(head=head, to_unit=to_unit)


def _classes(task: Task, common: dict[str, Any], threshold: Any) -> AnyHead:
    match task:
        case "binary":
            return BinaryHead(**common, threshold=0.5 if threshold is None else _number(threshold))
        case "multilabel":
            return MultilabelHead(**common, thresholds=_each(threshold, common["labels"]))
        case "tagging":
            return TaggingHead(**common)
        case "generation":
            return GenerationHead(**common)
    return MulticlassHead(**common)


def _generation(generate: Mapping[str, Any] | None, vocabulary: list[Any]) -> dict[str, Any]:
    """What `generate=` says; tokens are said as the words they stand for."""
    if not isinstance(generate, Mapping) or not {"end", "steps"} <= set(generate) <= set(GENERATE_WORDS):
        raise BundleError(
            f"generation takes generate={{'start': '<s>', 'end': '</s>', 'steps': 20, 'beams': 4}}, a mapping of"
            f" {', '.join(GENERATE_WORDS)}; end and steps are needed"
        )
    said = dict(generate)
    for name in ("start", "end"):
        if said.get(name) is not None:
            if said[name] not in vocabulary:
                raise BundleError(f"generate's {name} {said[name]!r} is none of the labels, which are the vocabulary")
            said[name] = vocabulary.index(said[name])
    return said


def _described(make: Callable[[], NamedHead]) -> NamedHead:
    try:
        return make()
    except ValidationError as error:
        raise BundleError(f"the head does not hold together: {first_problem(error)}") from error
    except (ValueError, OverflowError, TypeError) as error:
        raise BundleError(f"the head does not hold together: {one_line(error)}") from error


def _refuse(task: str, fitting: str, **arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None and task not in fitting:
            raise BundleError(f"{name} is for {fitting}, and the task is {task}")


def _each(threshold: Any, labels: list[Any]) -> list[float]:
    """One threshold for each label: the same for all, in their order, or by label, which may be said as text."""
    if isinstance(threshold, Mapping):
        by_name = {str(label): value for label, value in threshold.items()}
        strange = by_name.keys() - {str(label) for label in labels}
        if strange:
            raise BundleError(f"threshold names {min(strange)!r}, which is no label")
        return [_number(by_name.get(str(label), 0.5)) for label in labels]
    if isinstance(threshold, list | tuple):
        return [_number(value) for value in threshold]
    return [0.5 if threshold is None else _number(threshold)] * len(labels)


def _number(threshold: Any) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise BundleError(f"threshold {threshold!r} is no number")
    return float(threshold)


def _bounds(task: str, bounds: Any, out_of_bounds: str | None, labels: list[Any]) -> Bounds | None:
    if bounds is None:
        if out_of_bounds is not None:
            raise BundleError("out_of_bounds says what to do with bounds=, which is missing")
        return None
    reject = out_of_bounds == "reject"
    if out_of_bounds not in (None, "count", "reject"):
        raise BundleError(f"out_of_bounds={out_of_bounds!r} is neither 'count' nor 'reject'")
    if task != "regression":
        if bounds is not True:
            raise BundleError(f"the bounds of {task} are known, 0 and 1; say bounds=True")
        return Bounds(reject=reject)
    try:
        pairs = np.array(bounds, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise BundleError("bounds are (low, high), or such a pair for each target; None where there is none") from error
    pairs = np.repeat(pairs, max(1, len(labels)), axis=0) if len(pairs) == 1 else pairs
    pairs[:, 0] = np.where(np.isnan(pairs[:, 0]), -np.inf, pairs[:, 0])
    pairs[:, 1] = np.where(np.isnan(pairs[:, 1]), np.inf, pairs[:, 1])
    if bool((pairs[:, 0] > pairs[:, 1]).any()):
        raise BundleError(f"bounds {bounds!r}: a low one lies above its high one")
    pairs = np.nan_to_num(pairs)  # what is infinite becomes the largest float64
    return Bounds(low=pairs[:, 0].tolist(), high=pairs[:, 1].tolist(), reject=reject)


def _listed(given: Any) -> Any:
    """Arrays, series and tensors as lists."""
    return given.tolist() if hasattr(given, "tolist") else given


def _plain_labels(labels: Any) -> list[Any]:
    if labels is None:
        return []
    if isinstance(labels, str | bytes | set | frozenset | dict):
        raise BundleError(f"labels is a {type(labels).__name__}; give a list, in the order of the model's outputs")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    for label in plain:
        if not isinstance(label, bool | int | float | str) or (isinstance(label, float) and label != label):
            raise BundleError(f"label {label!r} is a {type(label).__name__}; labels are text, numbers or booleans")
    return plain
