"""The workers of a run as actors of Ray Core. The only module that imports Ray, and only when a run needs it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..cores import available_cores
from ..errors import ClusterError, UsageError, one_line
from ..options import ScoreJob
from .worker import Worker, WorkerSetup
from .workers import Launcher, Size

if TYPE_CHECKING:
    from concurrent.futures import Future

#: How long the head of a cluster may take to accept a connection.
REACH_S = 10.0
#: Memory for objects of a local Ray; results are small.
STORE_BYTES = 100 << 20
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def connected(job: ScoreJob) -> Iterator[None]:
    """Connect to the cluster of a job, or start a local Ray, which ends with the block. A connection that exists
    already is used.

    Raises:
        UsageError: Ray is not installed, or the job has an address, but a connection exists.
        ClusterError: the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray; install it with: pip install 'scoreline[ray]'") from error
    if ray.is_initialized():
        if job.address is not None:
            raise UsageError(
                f"this process is connected to Ray already, so the address {job.address!r} cannot be used; leave it out"
            )
        yield
        return
    address = job.address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a local Ray does not report its use
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address == "local":
        options |= {"num_cpus": job.workers or available_cores().count, "include_dashboard": False}
        options |= {"object_store_memory": STORE_BYTES}
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        _check_reachable(address)
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        token = "" if "RAY_AUTH_MODE" in os.environ else ", and set RAY_AUTH_MODE=token if the cluster wants a token"
        raise ClusterError(f"Ray at {address!r} cannot be used: {one_line(error)}; check --address{token}") from error
    finally:
        for number, handler in handlers.items():  # Ray has replaced some
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at an address: Ray itself would wait for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()


def cluster_size(job: ScoreJob) -> Size:
    """As many workers as the job says, or as the connected cluster has cores or GPUs for. A worker without a GPU has
    one core; one with GPUs its share of the cores beside them.

    Raises:
        ClusterError: no machine of the cluster has room for a worker.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = job.gpus_per_worker
    if gpus is None:
        return Size(workers=job.workers or max(1, int(sum(node.get("CPU", 0) for node in nodes))))
    rooms = [(int(node.get("GPU", 0)) // gpus, int(node.get("CPU", 0))) for node in nodes]
    rooms = [(workers, cores) for workers, cores in rooms if workers]
    if not rooms:
        raise ClusterError(f"no machine of the Ray cluster has {gpus} GPUs; pass fewer with --gpus-per-worker")
    cores = min(cores // workers for workers, cores in rooms)
    return Size(workers=job.workers or sum(workers for workers, _ in rooms), cores=max(1, cores), gpus=gpus)


class RayLauncher(Launcher):
    """Workers as actors."""

    def start(self, setup: WorkerSetup, size: Size) -> Any:
        """An actor, wherever the cluster has room for it; Ray does not restart it."""
        import ray

        kind = ray.remote(
            num_cpus=size.cores, num_gpus=size.gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(Worker)  # fmt: skip
        return kind.remote(setup)

    def call(self, worker: Any, method: str, *arguments: Any) -> Future[Any]:
        """A future of Ray: a signal does not interrupt `ray.wait`."""
        future: Future[Any] = getattr(worker, method).remote(*arguments).future()
        return future

    def kill(self, worker: Any) -> None:
        """End an actor."""
        import ray

        ray.kill(worker)

    def lost(self, error: BaseException) -> str | None:
        """Ray wraps what a call raises, and has errors of its own for actors that are lost."""
        from ray.exceptions import RayError, RayTaskError

        if isinstance(error, RayTaskError) or not isinstance(error, RayError):
            return None
        return _reason(error)

    def no_room(self, size: Size) -> str:
        """The cluster may be full."""
        return (
            f"the Ray cluster has no room for {size.cores} CPUs and {size.gpus} GPUs; wait for other jobs, or add"
            " machines"
        )


def _reason(error: BaseException) -> str:
    """The cause in a message of Ray, without its advice."""
    text = one_line(error)
    begin = text.find("The actor is dead because")
    return text[max(0, begin) :].partition(" Some common causes")[0].rstrip(".")
