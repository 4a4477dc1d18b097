"""The measures of an evaluation as plain values, for JSON and for comparisons."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .evaluators import Evaluation
from .metrics import ClassMetrics, macro

#: Not measures: what was measured, on how many rows, and how exactly.
_NO_MEASURES = ("rows", "without_label", "auc_bound", "quantile")


def measures(found: Evaluation) -> dict[str, Any]:
    """Everything that was measured; numbers that are not finite are None."""
    plain: dict[str, Any] = {
        "head": found.head.name, "task": found.head.task, "rows": found.rows, "without_label": found.unlabelled,
    }  # fmt: skip
    if found.classes is not None:
        plain |= _of_classes(found.classes, found.names)
    if found.labels:
        plain["exact_match"] = found.exact_rows / max(1, found.rows)
        plain["labels"] = {name: _of_classes(metrics, ["no", "yes"]) for name, metrics in found.labels.items()}
    if found.targets:
        plain["targets"] = {
            name: {"mae": m.mae, "rmse": m.rmse, "r2": _finite(m.r2), "bias": m.bias}
            for name, m in found.targets.items()
        }
    if found.quantiles:
        plain["quantiles"] = {
            name: {"quantile": m.quantile, "pinball": m.pinball, "coverage": m.coverage}
            for name, m in found.quantiles.items()
        }
    return plain


def single_numbers(found: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """The measures among plain values that are single numbers, by their path: `accuracy`, `targets.x.mae`."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from single_numbers(value, f"{path}{name}.")
        elif isinstance(value, int | float) and name not in _NO_MEASURES:
            yield f"{path}{name}", value


def _of_classes(metrics: ClassMetrics, names: list[str]) -> dict[str, Any]:
    aucs = metrics.aucs()
    scored = names if len(aucs) > 1 else names[1:]
    return {
        "accuracy": metrics.accuracy,
        "log_loss": _finite(metrics.log_loss),
        "brier": _finite(metrics.brier),
        "auc": _finite(macro([auc.value for auc in aucs])) if aucs else None,
        "auc_bound": max((auc.bound for auc in aucs), default=None),
        "auc_by_label": dict(zip(scored, (_finite(auc.value) for auc in aucs), strict=False)),
        "f1": dict(zip(names, metrics.f1.tolist(), strict=True)),
        "f1_macro": _finite(metrics.f1_macro),
        "confusion": metrics.confusion.tolist(),
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
