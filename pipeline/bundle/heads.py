"""The names and types of the columns that each task writes, and which options go with which task. Known before torch is
imported."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from ...schemas.bundle import (
    AnyHead,
    BinaryHead,
    BundleManifest,
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
from ..records import ColumnOptions
from .explained import explain_fields
from .layers import hidden_columns
from .targets import Target, find_target, names_of

PREDICTION = "prediction"
STD = "prediction_std"


def output_fields(manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """The columns of a bundle's predictions, in order, before any prefix.

    - binary: `prediction`, `probability` (float32, of the second label)
    - multiclass: `prediction`, `probability_<label>` (float32) each, or one list column, or none; of the k likeliest
      labels `top_1`, `top_1_probability` …, where they were asked for
    - multilabel: `prediction_<label>` (bool) each, then `probability_<label>` each, or one list column, or none
    - regression: `prediction` (float64), or `prediction_<target>` each where targets are named; of quantiles
      `prediction_p10` … instead; with a spread `prediction_std` behind them
    - tagging: `prediction`, a list of labels, and `probability`, a list of float32 of the label of each step, or
      `probabilities`, lists of all labels', or neither
    - generation: `prediction`, a list of words, `log_probability` (float64, their sum), `score` (the same with the
      length penalty), `ended` (bool, whether it came to its end within the steps that are allowed)
    - an ensemble that was asked for its spread: `prediction_std` (float64), or one per target or label

    Where there are several heads, each one's columns begin with its name. Behind all of them the hidden layers that
    were asked for, as lists of float32 of a fixed size, and the attributions of `--explain`.
    """
    hidden = [
        pa.field(column.name, pa.list_(pa.float32(), column.width))
        for column in hidden_columns(manifest, options.hidden)
    ]
    heads = [field for head in manifest.heads for field in head_fields(manifest, head, options)]
    return [*heads, *hidden, *explain_fields(manifest, options.explain)]


def head_fields(manifest: BundleManifest, head: AnyHead, options: ColumnOptions) -> list[pa.Field]:
    """Those of one of its heads."""
    several = len(manifest.heads) > 1
    fields = _head_fields(head, options, manifest.ensemble is not None and manifest.ensemble.std)
    return [field.with_name(f"{head.name}_{field.name}") for field in fields] if several else fields


def check_options(manifest: BundleManifest, options: ColumnOptions) -> None:
    """Raise UsageError for options that go with none of the bundle's heads; says what is possible."""
    tasks = ", ".join(sorted({head.task for head in manifest.heads}))
    classes = [len(head.labels) for head in manifest.heads if isinstance(head, MulticlassHead)]
    if options.top_k is not None:
        if not classes:
            raise UsageError(f"--top-k is for multiclass, and the bundle's task is {tasks}; leave it out")
        if options.top_k > min(classes):
            raise UsageError(f"--top-k {options.top_k} of {min(classes)} labels; say 1 to {min(classes)}")
    doubled = [name for name, times in Counter(f.name for f in output_fields(manifest, options)).items() if times > 1]
    if doubled:
        raise UsageError(f"two outputs would be written as {doubled[0]!r}; leave --top-k out, or --explain by lime")
    if options.thresholds and not any(isinstance(head, BinaryHead | MultilabelHead) for head in manifest.heads):
        raise UsageError(f"--threshold is for binary and multilabel, and the bundle's task is {tasks}; leave it out")
    with_thresholds(manifest.heads, options)


def with_thresholds(heads: Sequence[AnyHead], options: ColumnOptions) -> list[AnyHead]:
    """The heads of a bundle with the job's thresholds in place of its own; a later one wins over an earlier one.

    Raises:
        UsageError: a threshold that names no head and no label, or could mean two of them.
    """
    made = list(heads)
    if not options.thresholds:
        return made
    targets = {target: (place, at) for place, head in enumerate(heads) for target, at in _targets(head, len(heads) > 1)}
    for name, value in options.thresholds:
        target = find_target(name, targets, "--threshold") if name else ()
        if target is None:
            there = f"one of {', '.join(names_of(targets))}" if targets else "a number alone"
            raise UsageError(f"--threshold names {name!r}; say {there}")
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
