"""The names and types of the columns that each task writes, and which options go with which task. Known before torch is
imported."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ...schemas.heads import (
    AnyHead,
    BinaryHead,
    ClassHead,
    GenerationHead,
    Label,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TaggingHead,
)
from ..arrays import text_array
from ..errors import UsageError
from ..options import ColumnOptions
from .targets import Target, find_target, names_of

PREDICTION = "prediction"
STD = "prediction_std"


def head_fields(manifest: BundleManifest, head: AnyHead, options: ColumnOptions) -> list[pa.Field]:
    """Those of one of its heads."""
    several = len(manifest.heads) > 1
    fields = _head_fields(head, options, manifest.ensemble is not None and manifest.ensemble.std)
    return [field.with_name(f"{head.name}_{field.name}") for field in fields] if several else fields


def with_thresholds(heads: Sequence[AnyHead], options: ColumnOptions) -> list[AnyHead]:
    """The heads of a bundle with the job's thresholds in place of its own; one of a label wins over an
    earlier one of all labels.

    Raises:
        UsageError: a threshold that names no head and no label, could mean two of them, or is given twice.
    """
    made = list(heads)
    if not options.thresholds:
        return made
    targets = {target: (place, at) for place, head in enumerate(heads) for target, at in _targets(head, len(heads) > 1)}
    seen: set[Target] = set()
    for name, value in options.thresholds:
        target = find_target(name, targets, "--threshold") if name else ()
        if target is None:
            there = f"one of {', '.join(names_of(targets))}" if targets else "a number alone"
            raise UsageError(f"--threshold names {name!r}; say {there}")
        if target in seen:
            what = f"{name!r} twice" if name else "a number for all labels twice"
            raise UsageError(f"--threshold gives {what}; pass one")
        seen.add(target)
        for place, at in [targets[target]] if target else [(place, None) for place in range(len(heads))]:
            made[place] = _with_threshold(made[place], at, value)
    return made


def _with_threshold(head: AnyHead, at: int | None, value: float) -> AnyHead:
    """`at`: the place of the label that it is for; None where it is for all of them."""
    if isinstance(head, BinaryHead):
        return head.model_copy(update={"threshold": value})
    if isinstance(head, MultilabelHead):
        new = [value if at in (None, place) else before for place, before in enumerate(head.thresholds)]
        return head.model_copy(update={"thresholds": new})
    return head


def _targets(head: AnyHead, several: bool) -> Iterator[tuple[Target, int | None]]:
    """What `--threshold NAME=0.3` may name, and the place of the label; `several`: whether there are other heads."""
    if not isinstance(head, BinaryHead | MultilabelHead):
        return
    front = (head.name,) if several else ()
    if several:
        yield front, None
    if isinstance(head, MultilabelHead):
        yield from (((*front, str(label)), place) for place, label in enumerate(head.labels))


def _head_fields(head: AnyHead, options: ColumnOptions, spread: bool) -> list[pa.Field]:
    match head:
        case RegressionHead():
            names = [f"{PREDICTION}_{name}" if name else PREDICTION for name in head.names()]
            stds = [f"{STD}{name.removeprefix(PREDICTION)}" for name in names]
            both = spread or head.spread is not None
            return [pa.field(name, pa.float64()) for name in (*names, *(stds if both else ()))]
        case BinaryHead():
            predictions = [pa.field(PREDICTION, label_array(head.labels).type)]
            probabilities = [] if options.probabilities == "none" else [pa.field("probability", pa.float32())]
            stds = [STD]
        case MulticlassHead():
            predictions = [pa.field(PREDICTION, label_array(head.labels).type)]
            probabilities = [*_probability_fields(head, options), *_top_fields(head, options)]
            stds = [STD]
        case MultilabelHead():
            predictions = [pa.field(f"{PREDICTION}_{label}", pa.bool_()) for label in head.labels]
            probabilities = _probability_fields(head, options)
            stds = [f"{STD}_{label}" for label in head.labels]
        case TaggingHead():
            steps = {
                "columns": [pa.field("probability", pa.list_(pa.float32()))],
                "list": [pa.field("probabilities", pa.list_(pa.list_(pa.float32(), len(head.labels))))],
                "none": [],
            }
            return [pa.field(PREDICTION, pa.list_(label_array(head.labels).type)), *steps[options.probabilities]]
        case GenerationHead():
            return [
                pa.field(PREDICTION, pa.list_(label_array(head.labels).type)),
                pa.field("log_probability", pa.float64()),
                pa.field("score", pa.float64()),
                pa.field("ended", pa.bool_()),
            ]
    return [*predictions, *probabilities, *(pa.field(name, pa.float64()) for name in stds if spread)]


def _probability_fields(head: ClassHead, options: ColumnOptions) -> list[pa.Field]:
    if options.probabilities == "none":
        return []
    if options.probabilities == "list":
        return [pa.field("probabilities", pa.list_(pa.float32(), len(head.labels)))]
    return [pa.field(f"probability_{label}", pa.float32()) for label in head.labels]


def _top_fields(head: MulticlassHead, options: ColumnOptions) -> Iterator[pa.Field]:
    for rank in range(1, (options.top_k or 0) + 1):
        yield pa.field(f"top_{rank}", label_array(head.labels).type)
        yield pa.field(f"top_{rank}_probability", pa.float32())


def label_array(labels: list[Label]) -> pa.Array:
    """Labels as the type of the `prediction` column: string, int64, bool or double."""
    if all(isinstance(label, str) for label in labels):
        return text_array([str(label) for label in labels])
    return pa.array(labels)


def head_width(head: AnyHead) -> int:
    """How many numbers a head's raw output has, at most, for a row, or for a step where it speaks of steps."""
    if isinstance(head, GenerationHead):
        return 2
    if isinstance(head, RegressionHead):
        return max(1, len(head.targets)) * (2 if head.spread is not None else max(1, len(head.quantiles)))
    return len(head.labels)
