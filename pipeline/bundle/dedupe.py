"""What planning knows of `--dedupe`: the bundles it goes with."""

from ...schemas.bundle import BundleManifest
from ..errors import UsageError
from ..features.kinds import kind_of
from ..options import ScoreJob
from ..tasks.tasks import task_of


def refuse(manifest: BundleManifest, job: ScoreJob) -> None:
    """Raise UsageError for a bundle that takes more than tables, or gives texts."""
    other = [entry for entry in manifest.inputs if not kind_of(entry).tabular]
    if job.dedupe and other:
        raise UsageError(f"--dedupe is for tables, and {other[0].name!r} is of {other[0].kind}s; leave it out")
    if job.dedupe and any(task_of(head).generates for head in manifest.heads):
        raise UsageError("--dedupe is for outputs as wide for every row, and generation gives texts; leave it out")
