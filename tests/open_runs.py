"""Runs over real files, opened up to the point where the first row is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import Store
from scoreline.pipeline.planning.existing import scan_output
from scoreline.pipeline.planning.plan import Plan, make_plan
from scoreline.pipeline.running.events import BundleLoaded
from scoreline.pipeline.running.ledger import Ledger, RunClock, open_ledger

from scoreline import Scorer

#: Rows of a split and of a block.
SPLIT_ROWS, BLOCK_ROWS = 10, 4


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """What a run has in hand when it begins to score."""

    job: ScoreJob
    plan: Plan
    scorer: Scorer
    store: Store
    ledger: Ledger


def open_run(bundle: Path, folder: Path, *, split_rows: int = SPLIT_ROWS, **options: Any) -> OpenRun:
    """Plan a run of a bundle over `folder`, with output beside it, in blocks of four rows; a hundred rows may be
    rejected."""
    given = {
        "run_id": "one", "batch_rows": BLOCK_ROWS, "device": "cpu", "max_rejects": RejectBudget(count=100), **options
    }  # fmt: skip
    job = ScoreJob(bundle=str(bundle), input=str(folder), output=str(folder.parent / "out"), **given)
    opened, found, store, clock = open_bundle(bundle), discover(str(folder)), FolderStore(job.output), RunClock()
    existing = scan_output(store, found.partitions, opened.digest, job, split_rows, root=found.real_root)
    plan = make_plan(found, existing, opened.manifest, job, split_rows)
    scorer = Scorer.for_job(opened, job)
    loaded = BundleLoaded.of(job, opened, scorer)
    ledger = open_ledger(job, plan, opened, loaded, clock, scorer.devices)
    return OpenRun(job=job, plan=plan, scorer=scorer, store=store, ledger=ledger)
