"""The key columns and the output fields of a bundle, with the options of a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ..errors import ColumnError, UsageError, listed, repeated
from ..options import ColumnOptions
from ..tasks.tasks import task_of
from . import stages
from .constants import check_constants
from .heads import head_fields, with_thresholds


def key_names(schema: pa.Schema, features: Collection[str], options: ColumnOptions) -> list[str]:
    """The names of the columns that are carried through: those in `options`, or all that are not features.

    Raises:
        ColumnError: one of them is missing or appears several times.
    """
    names = [name for name in schema.names if name not in set(features)]
    names = names if options.keys is None else list(options.keys)
    for name in names:
        times = schema.names.count(name)
        if times == 0:
            raise ColumnError(f"key column {name!r} is missing; the columns are {listed(schema.names, 8)}")
        if times > 1:
            raise ColumnError(f"column {name!r} appears {repeated(times)} and cannot be carried through")
    return names


def output_fields(manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """The columns of a bundle's predictions, in order, before any prefix.

    - binary: `prediction`, `probability` (float32, of the second label)
    - multiclass: `prediction`, `probability_<label>` (float32) each, or one list column, or none; with top-k, also
      `top_1`, `top_1_probability` …
    - multilabel: `prediction_<label>` (bool) each, then `probability_<label>` each, or one list column, or none
    - regression: `prediction` (float64), or `prediction_<target>` each where targets are named; with
      horizons or quantiles `prediction_<horizon>_p10` … instead; with a spread also `prediction_std`; with a
      threshold also `above_threshold` (bool)
    - tagging: `prediction`, a list of labels, and `probability`, a list of float32 with that of the label of each
      step, or `probabilities`, lists with those of all labels, or neither
    - generation: `prediction`, a list of words, `log_probability` (float64, their sum), `score` (the same with the
      length penalty), `ended` (bool, whether it ended within the allowed steps)
    - an ensemble with `std`: `prediction_std` (float64), or one per target or label

    Where there are several heads, the columns of each begin with its name. The columns of optional stages follow:
    hidden layers as fixed-size lists of float32, attributions, and constants as text.
    """
    heads = [field for head in manifest.heads for field in head_fields(manifest, head, options)]
    return [*heads, *(field for stage in stages.OPTIONAL for field in stage.fields(manifest, options))]


def _has_probabilities(manifest: BundleManifest) -> bool:
    with_them, without = (output_fields(manifest, ColumnOptions(probabilities=one)) for one in ("columns", "none"))
    return with_them != without


def check_options(manifest: BundleManifest, options: ColumnOptions) -> None:
    """Raise UsageError for options that no head of the bundle supports; the message names what is possible."""
    names = ", ".join(sorted({head.task for head in manifest.heads}))
    tasks = [task_of(head) for head in manifest.heads]
    if options.top_k is not None:
        limits = [task.most_top_k for task in tasks if task.most_top_k is not None]
        if not limits:
            raise UsageError(f"--top-k is for multiclass, but the bundle's task is {names}; leave it out")
        if options.top_k > min(limits):
            raise UsageError(f"--top-k {options.top_k} is too large for {min(limits)} labels; use 1 to {min(limits)}")
    if options.probabilities != "columns" and not _has_probabilities(manifest):
        raise UsageError(
            f"--probabilities {options.probabilities} is for classification and tagging, but the bundle's task is"
            f" {names}; leave it out"
        )
    others = output_fields(manifest, replace(options, constants=()))
    check_constants(options, [field.name for field in others])
    doubled = [name for name, times in Counter(f.name for f in output_fields(manifest, options)).items() if times > 1]
    if doubled:
        raise UsageError(f"two output columns would be named {doubled[0]!r}; leave --top-k out, or use --explain lime")
    if options.thresholds and all(task.threshold_labels is None for task in tasks):
        raise UsageError(
            "--threshold is for binary, multilabel, and a regression that was saved with a threshold, but the bundle's"
            f" task is {names}; leave it out"
        )
    with_thresholds(manifest.heads, options)
