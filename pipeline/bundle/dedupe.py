"""Which bundles support `--dedupe`."""

from ...schemas.bundle import BundleManifest
from ..errors import UsageError
from ..features.kinds import kind_of
from ..options import ScoreJob
from ..tasks.tasks import task_of


def refuse(manifest: BundleManifest, job: ScoreJob) -> None:
    """Raise UsageError for a bundle with inputs that are not tables, or with generation."""
    other = [entry for entry in manifest.inputs if not kind_of(entry).tabular]
    if job.dedupe and other:
        raise UsageError(
            f"--dedupe is for tables, and input {other[0].name!r} consists of {other[0].kind}s; leave it out"
        )
    if job.dedupe and any(task_of(head).generates for head in manifest.heads):
        raise UsageError("--dedupe does not support generation; leave it out")
