"""Task specs → the heads of a bundle. Independent of files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from ...schemas.specs.tasks import AnyTask, Binary, Generation, Multiclass, Multilabel, Regression, Tagging
from ...schemas.specs.values import shown
from ..errors import BundleError, counted, listed, one_line
from .binding import bind_target
from .notes import say
from .specs import ONLY_TASK, problem, task_label


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedHead:
    """A head, and the user's own conversion to the target's unit: `[rows, targets]` → the same shape."""

    head: AnyHead
    to_unit: Callable[[np.ndarray], np.ndarray]


#: The smallest and largest number of labels of a task.
_LABELS: dict[type, tuple[int, int | None]] = {Binary: (2, 2), Multilabel: (1, None)}


def make_heads(tasks: Mapping[str, AnyTask]) -> list[NamedHead]:
    """The heads of these tasks, in the same order.

    Raises:
        BundleError: a task has inconsistent fields.
    """
    heads = []
    for name, task in tasks.items():
        where = "task" if list(tasks) == [ONLY_TASK] else task_label(name)
        try:
            heads.append(_make_head(name, task))
        except ValidationError as error:
            raise BundleError(f"{where}{problem(error, ())}") from error
        except (ValueError, OverflowError, TypeError, BundleError) as error:
            raise BundleError(f"{where}: {one_line(error)}") from error
    if len(first := [name for name, task in tasks.items() if type(task.output) is int and task.output == 0]) > 1:
        say(f"tasks {listed(first)} read the same output of the model, the first; others are read with output=…")
    return heads


def _make_head(name: str, task: AnyTask) -> NamedHead:
    match task:
        case Regression():
            return _regression(name, task)
        case Generation():
            return _without_unit(_generation(name, task))
    least, most = _LABELS.get(type(task), (2, None))
    if len(task.labels) < least or (most is not None and len(task.labels) > most):
        takes = counted(least, "label") if least == most else f"at least {least}"
        raise BundleError(f"labels: {task.kind} takes {takes}, not {len(task.labels)}: {shown(task.labels)}")
    common: dict[str, Any] = {
        "name": name,
        "output": task.output,
        "outputs": task.outputs,
        "labels": list(task.labels),
        "bounds": _probability_bounds(task),
    }
    match task:
        case Binary():
            return _without_unit(BinaryHead(**common, threshold=task.threshold))
        case Multiclass():
            return _without_unit(MulticlassHead(**common))
        case Multilabel():
            return _without_unit(MultilabelHead(**common, thresholds=_each(task)))
        case Tagging():
            return _without_unit(TaggingHead(**common))


def _without_unit(head: AnyHead) -> NamedHead:
    """A head whose outputs are not rescaled."""
    return NamedHead(head=head, to_unit=lambda values: values)


def _regression(name: str, task: Regression) -> NamedHead:
    targets = [str(target) for target in task.targets]
    rescale, to_unit = bind_target(task.scaler, max(1, len(targets)))
    head = RegressionHead(
        name=name,
        output=task.output,
        targets=targets,
        horizons=[str(horizon) for horizon in task.horizons],
        threshold=task.threshold,
        rescale=rescale,
        quantiles=list(task.quantiles),
        spread=task.spread,
        bounds=_target_bounds(task),
    )
    return NamedHead(head=head, to_unit=to_unit)


def _generation(name: str, task: Generation) -> GenerationHead:
    words = list(task.vocabulary)
    if len(words) < 2:
        raise BundleError(f"vocabulary: generation takes at least 2 words, not {len(words)}: {shown(words)}")
    for field, word in (("start", task.start), ("end", task.end)):
        if word is not None and (type(word), word) not in {(type(one), one) for one in words}:
            raise BundleError(f"{field}: {word!r} is not in the vocabulary")
    return GenerationHead(
        name=name,
        output=task.output,
        outputs=task.outputs,
        labels=words,
        start=None if task.start is None else words.index(task.start),
        end=words.index(task.end),
        steps=task.steps,
        beams=task.beams,
        length_penalty=task.length_penalty,
    )


def _each(task: Multilabel) -> list[float]:
    """One threshold for each label, from one for all, a list in the order of the labels, or a mapping by label or its
    text."""
    if isinstance(task.threshold, Mapping):
        by_name = {str(label): value for label, value in task.threshold.items()}
        unknown = by_name.keys() - {str(label) for label in task.labels}
        if unknown:
            raise BundleError(f"threshold: {min(unknown)!r} is not a label; the labels are {shown(task.labels)}")
        return [float(by_name.get(str(label), 0.5)) for label in task.labels]
    if isinstance(task.threshold, Sequence):
        if len(task.threshold) != len(task.labels):
            numbers, labels = counted(len(task.threshold), "number"), counted(len(task.labels), "label")
            raise BundleError(f"threshold: {numbers} for {labels}; list one for each")
        return list(task.threshold)
    return [task.threshold] * len(task.labels)


def _reject(task: AnyTask, *, has_bounds: bool) -> bool:
    """Whether rows that are out of bounds are rejected."""
    out_of_bounds = None if isinstance(task, Generation) else task.out_of_bounds
    if out_of_bounds is not None and not has_bounds:
        raise BundleError(f"out_of_bounds: {out_of_bounds!r} has no effect without bounds; set bounds as well")
    return out_of_bounds == "reject"


def _probability_bounds(task: Binary | Multiclass | Multilabel | Tagging) -> Bounds | None:
    reject = _reject(task, has_bounds=task.bounds)
    return Bounds(reject=reject) if task.bounds else None


def _target_bounds(task: Regression) -> Bounds | None:
    reject = _reject(task, has_bounds=task.bounds is not None)
    if task.bounds is None:
        return None
    width = max(1, len(task.targets))
    pairs = np.array(task.bounds, dtype=np.float64).reshape(-1, 2)
    if len(pairs) != width:
        raise BundleError(
            f"bounds: {counted(len(pairs), 'pair')} of low and high for {counted(width, 'target')}; list one for each"
        )
    low = np.where(np.isnan(pairs[:, 0]), -np.inf, pairs[:, 0])
    high = np.where(np.isnan(pairs[:, 1]), np.inf, pairs[:, 1])
    # infinite bounds become the largest float64
    return Bounds(low=np.nan_to_num(low).tolist(), high=np.nan_to_num(high).tolist(), reject=reject)
