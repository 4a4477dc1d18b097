"""Records for the run manifest, `_scoreline/run.json`."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from ...schemas.bundle import BundleManifest
from ...schemas.run import DeviceRecord, HeadRecord
from ..bundle.heads import head_fields, with_thresholds
from ..options import ColumnOptions
from ..tasks.tasks import task_of

if TYPE_CHECKING:
    from ..model.devices import Device

LIBRARIES = ("scoreline", "torch", "numpy", "pyarrow")


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """The versions of the libraries that compute, and of the given packages."""
    return {name: _version(name) for name in (*LIBRARIES, *packages)}


@cache  # parsing the metadata of four packages takes a fifth of a small run
def _version(package: str) -> str:
    return version(package)


def head_records(manifest: BundleManifest, options: ColumnOptions) -> list[HeadRecord]:
    """The task and output columns of each head."""
    records = []
    for head in with_thresholds(manifest.heads, options):
        task = task_of(head)
        columns = [options.prefix + field.name for field in head_fields(manifest, head, options)]
        records.append(
            HeadRecord(
                name=head.name,
                task=task.name,
                labels=task.labels,
                targets=task.targets,
                quantiles=task.quantiles,
                horizons=task.horizons,
                threshold=task.threshold,
                columns=columns,
            )
        )
    return records


def device_records(devices: "Iterable[Device]", wall_s: float) -> list[DeviceRecord]:
    """The GPUs among these devices, after so many seconds of the run."""
    return [
        DeviceRecord(device=str(one.torch), card=one.card, busy_s=one.busy_s, busy_share=one.busy_s / max(wall_s, 1e-9))
        for one in devices
        if one.card is not None and one.busy_s is not None
    ]
