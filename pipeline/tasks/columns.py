"""The names and types of the columns that each task writes. Known before torch is imported."""

import pyarrow as pa

from ...schemas.bundle import AnyHead, BinaryHead, BundleManifest, Label, MulticlassHead, RegressionHead
from ..arrays import text_array
from ..records import ColumnOptions

PREDICTION = "prediction"
STD = "prediction_std"


def output_fields(manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """The columns of a bundle's predictions, in order, before any prefix.

    - binary: `prediction`, `probability` (float32, of the second label)
    - multiclass: `prediction`, `probability_<label>` (float32) each, or one list column, or none
    - regression: `prediction` (float64), or `prediction_<target>` each where targets are named
    - an ensemble that was asked for its spread: `prediction_std` (float64), or one per target
    """
    spread = manifest.ensemble is not None and manifest.ensemble.std
    fields = []
    for head in manifest.heads:
        fields += _head_fields(head, options)
        if spread:
            targets = head.targets if isinstance(head, RegressionHead) else []
            fields += [pa.field(f"{STD}_{target}", pa.float64()) for target in targets] or [pa.field(STD, pa.float64())]
    return fields


def _head_fields(head: AnyHead, options: ColumnOptions) -> list[pa.Field]:
    match head:
        case RegressionHead():
            names = [f"{PREDICTION}_{target}" for target in head.targets] or [PREDICTION]
            return [pa.field(name, pa.float64()) for name in names]
        case BinaryHead():
            probabilities = [] if options.probabilities == "none" else [pa.field("probability", pa.float32())]
        case MulticlassHead():
            probabilities = _probability_fields(head, options)
    return [pa.field(PREDICTION, label_array(head.labels).type), *probabilities]


def _probability_fields(head: MulticlassHead, options: ColumnOptions) -> list[pa.Field]:
    if options.probabilities == "none":
        return []
    if options.probabilities == "list":
        return [pa.field("probabilities", pa.list_(pa.float32(), len(head.labels)))]
    return [pa.field(f"probability_{label}", pa.float32()) for label in head.labels]


def label_array(labels: list[Label]) -> pa.Array:
    """Labels as the type of the `prediction` column: string, int64, bool or double."""
    if all(isinstance(label, str) for label in labels):
        return text_array([str(label) for label in labels])
    return pa.array(labels)


def head_width(head: AnyHead) -> int:
    """How many numbers per row a head's raw output has, at most."""
    return max(1, len(head.targets)) if isinstance(head, RegressionHead) else len(head.labels)
