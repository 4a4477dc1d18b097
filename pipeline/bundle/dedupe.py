"""What planning knows of `--dedupe`: the bundles it goes with."""

from ...schemas.bundle import BundleManifest
from ...schemas.heads import GenerationHead
from ...schemas.inputs import TableInput
from ..errors import UsageError
from ..options import ScoreJob


def refuse(manifest: BundleManifest, job: ScoreJob) -> None:
    """Raise UsageError for a bundle that takes more than tables, or gives texts."""
    other = [entry for entry in manifest.inputs if not isinstance(entry, TableInput)]
    if job.dedupe and other:
        raise UsageError(f"--dedupe is for tables, and {other[0].name!r} is of {other[0].kind}s; leave it out")
    if job.dedupe and any(isinstance(head, GenerationHead) for head in manifest.heads):
        raise UsageError("--dedupe is for outputs as wide for every row, and generation gives texts; leave it out")


def rounding(job: ScoreJob) -> str | None:
    """A row may be scored beside others than without it."""
    return "on" if job.dedupe else None
