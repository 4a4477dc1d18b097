"""Scores the splits of a run on the workers of a Ray cluster. Does not import torch."""

from __future__ import annotations

from dataclasses import replace

from ..options import ScoreJob
from ..planning.plan import Plan
from ..running.execute import Execution
from .ray_cluster import RayLauncher, cluster_size, connected
from .worker_engine import WorkerEngine, worker_setup
from .workers import Workers


class RayEngine(WorkerEngine):
    """Workers on Ray."""

    def workers(self, execution: Execution, plan: Plan) -> Workers:
        """Connect to the cluster.

        Raises:
            UsageError: Ray is not installed.
            ClusterError: the cluster cannot be reached.
        """
        job = execution.job
        execution.held.enter_context(connected(job))
        size = cluster_size(job)
        setup = worker_setup(execution, plan, replace(job, device=device_of_workers(job)), size.cores)
        return Workers(RayLauncher(), setup, size, execution.emit)


def device_of_workers(job: ScoreJob) -> str:
    """The device of a worker: what it has reserved, and nothing else."""
    if job.device != "auto":
        return job.device
    return "cpu" if job.gpus_per_worker is None else "cuda"
