"""A worker in this process: the same parts as a run, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.engines.pieces import cut_pieces
from scoreline.pipeline.engines.ray_engine import device_of_workers
from scoreline.pipeline.engines.worker import Ready, Worker, WorkerSetup
from scoreline.pipeline.engines.worker_engine import with_absolute_paths
from scoreline.pipeline.errors import BundleError, ClusterError, RowsRejectedError
from scoreline.pipeline.inputs.discover import discover
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.store import LOCK
from scoreline.pipeline.planning.existing import ExistingParts
from scoreline.pipeline.planning.plan import Plan, make_plan
from scoreline.pipeline.running.ledger import RunClock, open_ledger
from scoreline.pipeline.running.manifest import versions

from conftest import Example, Result
from outcomes import parts


@pytest.fixture
def plan(iris: Example, four_files: Path) -> Plan:
    """Of four files, without an output."""
    bundle = open_bundle(iris.bundle)
    job = ScoreJob(bundle=str(iris.bundle), input=str(four_files), output="/out", run_id="one")
    return make_plan(discover(str(four_files)), ExistingParts(), bundle.manifest, job, 60)


@pytest.fixture
def setup(iris: Example, plan: Plan, tmp_path: Path) -> WorkerSetup:
    """Of a worker on this machine; the output is locked only for a moment."""
    store = FolderStore(tmp_path / "shared")
    with store.lock("one"):
        lock = store.read(LOCK)
    job = ScoreJob(
        bundle=str(iris.bundle), input=plan.discovery.real_root, output=str(store.root), run_id="one", device="cpu",
        max_rejects=RejectBudget(count=9),
    )  # fmt: skip
    return WorkerSetup(
        job=job, bundle=open_bundle(iris.bundle).digest, versions=versions(), lock=lock, engines={}, cores=1,
        sample=plan.partitions[0].partition, root=plan.discovery.real_root, split_rows=60, variables={},
    )  # fmt: skip


def test_the_same_parts_as_a_run(
    setup: WorkerSetup, plan: Plan, score_four_files: Callable[..., Result], tmp_path: Path, iris: Example
) -> None:
    """With accounts that add up to those of the run."""
    assert score_four_files("--split-rows", "60", "--device", "cpu").code == 0
    worker = Worker(setup)
    ready = worker.load()
    assert isinstance(ready, Ready)
    assert (ready.loaded.device, ready.made_with["device"], ready.not_compiled) == ("cpu", "cpu", None)
    ledger = open_ledger(setup.job, plan, open_bundle(iris.bundle), ready.loaded, RunClock())
    assert ledger.made_with() == ready.made_with
    rows = 0
    for piece in cut_pieces(plan.partitions, most_rows=100, num_workers=2):
        result = worker.score(piece)
        assert result.error is None
        rows += result.num_rows
        assert ledger.add_accounts(result.accounts, 0.5) == []
        assert sum(event.data()["rows"] for event in result.events) == result.num_rows
    assert (rows, ledger.rejected) == (600, 2)
    (tmp_path / "out" / "_SUCCESS").unlink()
    assert parts(tmp_path / "shared") == parts(tmp_path / "out")
    assert ledger.clock.times["forward"].rows == 598
    assert worker.summary(ledger.clock.times) == []


def test_too_many_rejects(setup: WorkerSetup, plan: Plan) -> None:
    """End the piece; the error is returned with what was counted."""
    worker = Worker(replace(setup, job=replace(setup.job, max_rejects=RejectBudget(count=0))))
    assert isinstance(worker.load(), Ready)
    piece, _ = cut_pieces(plan.partitions, most_rows=300, num_workers=1)[:2]
    result = worker.score(replace(piece, planned=plan.partitions[1:2]))
    assert isinstance(result.error, RowsRejectedError)
    assert result.accounts.rejected == 1
    assert result.accounts.first_reject is not None
    assert (result.accounts.first_reject["source"], result.accounts.first_reject["row_number"]) == ("1.parquet", 17)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"versions": {**versions(), "numpy": "1.0"}}, ClusterError,
         f"numpy is version {np.__version__} there, and 1.0 where the run was started"),
        ({"versions": {**versions(), "not-a-package": "1"}}, ClusterError, "not-a-package is not installed there"),
        ({"bundle": "sha256:0"}, ClusterError, "has the digest sha256:"),
        ({"lock": b"{}"}, ClusterError, "is another folder there; choose an --output that all hosts share"),
    ],
)  # fmt: skip
def test_another_machine(setup: WorkerSetup, changes: dict[str, Any], kind: type[Exception], message: str) -> None:
    """That differs in something is named, with what differs."""
    error = Worker(replace(setup, **changes)).load()
    assert type(error) is kind
    assert str(error).startswith("worker on host '")
    assert message in str(error)


def test_files_that_a_machine_does_not_see(setup: WorkerSetup, tmp_path: Path) -> None:
    """The input, the bundle."""
    assert setup.sample is not None
    missing = replace(setup.sample, path=str(tmp_path / "no.parquet"))
    error = Worker(replace(setup, sample=missing)).load()
    assert "no.parquet' is missing there, or has another size or time" in str(error)
    error = Worker(replace(setup, job=replace(setup.job, bundle=str(tmp_path / "none")))).load()
    assert isinstance(error, BundleError)
    assert "worker on host" in str(error)


def test_the_job_of_workers() -> None:
    """Has paths that do not depend on the folder of a process; URIs stay as they are. On Ray, a worker without GPUs
    does not use those of its machine."""
    job = ScoreJob(bundle="s3://models/b", input="in", output="out", run_id="one", engine="ray")
    found = with_absolute_paths(job, "/shared/out")
    assert (found.bundle, found.input, found.output) == ("s3://models/b", str(Path("in").absolute()), "/shared/out")
    assert [device_of_workers(replace(job, gpus_per_worker=gpus)) for gpus in (None, 1)] == ["cpu", "cuda"]
