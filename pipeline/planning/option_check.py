"""Checks a `ScoreJob` made in Python by the rules of the command line. Does not import torch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..options import ScoreJob
from .option import Option
from .option_table import OPTIONS


def checked_job(job: ScoreJob) -> ScoreJob:
    """The job, with paths as text.

    Raises:
        UsageError: a field has a value that its option refuses, or two options conflict.
    """
    job = replace(job, bundle=_as_text(job.bundle), input=_as_text(job.input), output=_as_text(job.output))
    for option in OPTIONS:
        if option.part in ("job", "columns"):
            _check(option, getattr(job if option.part == "job" else job.columns, option.target))
    if (explain := job.columns.explain) is not None:
        _check(next(one for one in OPTIONS if one.name == "explain"), explain.method)
    if job.max_drift is not None and not job.profile:
        raise UsageError("--max-drift needs the profile that --no-profile leaves out; pass only one of them")
    if job.precision == "tf32" and job.device == "cpu":
        raise UsageError(
            "--precision tf32 needs a CUDA GPU, and --device is cpu, which has no TF32; use --precision fp32, or"
            " --device cuda"
        )
    _check_engine(job)
    return job


def _check_engine(job: ScoreJob) -> None:
    """Raise UsageError for options that do not suit the engine."""
    if job.engine not in ("auto", "local") and job.shard is not None:
        raise UsageError(f"--shard and --engine {job.engine} both divide the work; pass one of them")
    if job.engine in ("auto", "local") and job.workers is not None:
        raise UsageError("--workers is only for --engine processes and ray; pass one of these, or leave --workers out")
    if job.engine != "ray":
        given = {"--address": job.address, "--gpus-per-worker": job.gpus_per_worker}
        if names := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"{names[0]} is only for --engine ray; pass that, or leave {names[0]} out")
        return
    if job.address is not None and "://" in job.address:
        raise UsageError(
            f"--address {job.address!r} is a URL, but the run must be on a machine of the cluster; pass auto or"
            " HOST:PORT"
        )
    if job.device.startswith("cuda:"):
        raise UsageError(f"--device {job.device} is a GPU of one machine; with --engine ray, pass --device cuda")
    if job.device == "cuda" and job.gpus_per_worker is None:
        raise UsageError("--device cuda with --engine ray needs GPUs for the workers; pass --gpus-per-worker 1")
    if job.device == "cpu" and job.gpus_per_worker is not None:
        raise UsageError("--gpus-per-worker has no use with --device cpu; leave one of them out")


def _as_text(path: Any) -> Any:
    return str(path) if isinstance(path, Path) else path


def _check(option: Option, value: Any) -> None:
    """Raise UsageError for a value that is not one of the option's."""
    if option.path and (not isinstance(value, str) or not value):
        raise UsageError(f"{option.target}: {value!r} is not a path; pass text that is not empty, or a Path")
    if option.switch and not isinstance(value, bool):
        raise UsageError(f"{option.target}: {value!r} is neither True nor False")
    if option.multiple and not isinstance(value, list | tuple):
        raise UsageError(f"{option.target}: {value!r} is not a tuple; pass one, also for a single value")
    if value is None or not (option.choices or option.number):
        return
    try:
        option.value(value)
    except ValueError as error:
        raise UsageError(f"{option.target}: {error}") from error
