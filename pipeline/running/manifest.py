"""A run's own account of what it did, for `_scoreline/run.json`."""

from collections.abc import Iterable
from importlib.metadata import version

from ...schemas.bundle import BundleManifest
from ...schemas.heads import RegressionHead
from ...schemas.run import HeadRecord, PartitionRecord, PartRecord
from ..bundle.heads import head_fields
from ..options import ColumnOptions
from ..records import Partition

LIBRARIES = ("scoreline", "torch", "numpy", "pyarrow")


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """The versions of what computes: of these packages beside the usual ones."""
    return {name: version(name) for name in (*LIBRARIES, *packages)}


def head_records(manifest: BundleManifest, options: ColumnOptions) -> list[HeadRecord]:
    return [
        HeadRecord(
            name=head.name,
            task=head.task,
            labels=[] if isinstance(head, RegressionHead) else head.labels,
            targets=head.targets if isinstance(head, RegressionHead) else [],
            quantiles=_quantiles(head) if isinstance(head, RegressionHead) else [],
            columns=[options.prefix + field.name for field in head_fields(manifest, head, options)],
        )
        for head in manifest.heads
    ]


def _quantiles(head: RegressionHead) -> list[float]:
    """Of each column, in order."""
    return [quantile for quantile in head.quantiles for _ in range(max(1, len(head.targets)))]


def partition_record(partition: Partition, parts: list[PartRecord], error: str | None) -> PartitionRecord:
    return PartitionRecord(
        source=partition.name,
        path=partition.path,
        format=partition.format,
        rows_in=sum(part.rows_in for part in parts),
        rows_scored=sum(part.rows_scored for part in parts),
        rows_rejected=sum(part.rows_rejected for part in parts),
        parts=sorted(parts, key=lambda part: part.split),
        error=error,
    )
