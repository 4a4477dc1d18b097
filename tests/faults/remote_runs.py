"""The program of forked runs whose output is in object storage: what to set in the process of a run."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from forked_runs import serve, set_flows

PROGRAM = str(Path(__file__))


def prepare(order: dict[str, Any]) -> None:
    """Set what an order says in this process: `flows`; `backoff_ms`, the first pause before a request is tried again,
    and `retry_s`, for how long; the `multipart_bytes` above which objects are uploaded in parts; the lifetime of locks
    in seconds; whether other processes are taken for those of `elsewhere`, which cannot be known to have ended."""
    from scoreline.pipeline.storage import access, lease, remote

    set_flows(order["flows"])
    if "backoff_ms" in order:
        access.RETRIES["backoff"]["init_backoff"] = timedelta(milliseconds=order["backoff_ms"])
    if "retry_s" in order:
        access.RETRIES["retry_timeout"] = timedelta(seconds=order["retry_s"])
    remote.MULTIPART_BYTES = order.get("multipart_bytes", remote.MULTIPART_BYTES)
    if "lifetime_s" in order:
        lease.LIFETIME_S, lease.BEAT_S = order["lifetime_s"], order["lifetime_s"] / 15
    if order.get("elsewhere"):
        lease.has_ended = lambda process: False  # noqa: ARG005


if __name__ == "__main__":
    import obstore.store  # noqa: F401 - before the fork, once
    from scoreline.pipeline.outputs import object_store  # noqa: F401

    serve(prepare)
