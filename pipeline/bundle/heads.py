"""The columns of a bundle's heads, and the heads with the thresholds of a job. Does not import torch."""

from collections.abc import Sequence

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ...schemas.heads import AnyHead
from ..errors import UsageError
from ..options import ColumnOptions
from ..tasks.tasks import task_of
from .targets import Target, find_target, names_of


def head_fields(manifest: BundleManifest, head: AnyHead, options: ColumnOptions) -> list[pa.Field]:
    """The columns of one of a bundle's heads; where there are several heads, the columns begin with its name."""
    std = manifest.ensemble is not None and manifest.ensemble.std
    fields = task_of(head).fields(options, std=std)
    several = len(manifest.heads) > 1
    return [field.with_name(f"{head.name}_{field.name}") for field in fields] if several else fields


def with_thresholds(heads: Sequence[AnyHead], options: ColumnOptions) -> list[AnyHead]:
    """The heads of a bundle with the thresholds of the job in place of their own. A threshold for one label takes
    precedence over an earlier one for all labels.

    Raises:
        UsageError: a threshold names no head or label, is ambiguous, is set twice, or is not a probability where the
            head predicts labels.
    """
    made = list(heads)
    if not options.thresholds:
        return made
    targets = _threshold_targets(heads)
    tasks = [task_of(head) for head in heads]
    kinds = {task.outputs is None for task in tasks if task.threshold_labels is not None}
    if len(kinds) > 1 and any(not name for name, _ in options.thresholds):
        raise UsageError(
            "--threshold without a name would set probabilities and numbers with units alike; name each head, as in"
            f" {heads[0].name}={options.thresholds[0][1]!r}"
        )
    seen: set[Target] = set()
    for name, value in options.thresholds:
        target = find_target(name, targets, "--threshold") if name else ()
        if target is None:
            there = f"one of {', '.join(names_of(targets))}" if targets else "a number alone"
            raise UsageError(f"--threshold names {name!r}, which is not a label or head; use {there}")
        if target in seen:
            what = f"{name!r} twice" if name else "a number for all labels twice"
            raise UsageError(f"--threshold gives {what}; pass one")
        seen.add(target)
        for index, label in [targets[target]] if target else [(index, None) for index in range(len(heads))]:
            task = task_of(made[index])
            if task.outputs is not None and not 0 <= value <= 1:
                raise UsageError(f"--threshold {value:g} is not a probability, as {task.name} takes; use 0 to 1")
            made[index] = task.with_threshold(value, label)
    return made


def _threshold_targets(heads: Sequence[AnyHead]) -> dict[Target, tuple[int, int | None]]:
    """The targets of `--threshold NAME=0.3` → the index of the head, and of the label; None for all labels."""
    targets: dict[Target, tuple[int, int | None]] = {}
    for index, head in enumerate(heads):
        labels = task_of(head).threshold_labels
        if labels is None:
            continue
        front: Target = (head.name,) if len(heads) > 1 else ()
        if front:
            targets[front] = index, None
        targets |= {(*front, label): (index, at) for at, label in enumerate(labels)}
    return targets
