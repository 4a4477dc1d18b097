"""Measures that are single numbers, by their path."""

from scoreline.pipeline.evaluation.measures import single_numbers


def test_single_numbers() -> None:
    """Counts, matrices, bounds and missing measures are left out."""
    found = {
        "head": "output", "task": "binary", "rows": 9, "without_label": 1, "accuracy": 0.5, "auc": None,
        "auc_bound": 0.1, "confusion": [[1, 2], [3, 4]], "targets": {"x": {"mae": 2}},
    }  # fmt: skip
    assert dict(single_numbers(found)) == {"accuracy": 0.5, "targets.x.mae": 2}
