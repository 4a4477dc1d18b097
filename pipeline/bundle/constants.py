"""Columns with the same text in every row, as `--constant` adds them. Does not import torch."""

import json
from collections.abc import Collection
from dataclasses import replace

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ..errors import UsageError
from ..options import ColumnOptions, ScoreJob

#: Replaced by the digest of the bundle.
DIGEST = "{bundle_digest}"


def constant_fields(_manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """The columns, as text without nulls."""
    return [pa.field(name, pa.string()) for name, _ in options.constants]


def constant_option(job: ScoreJob) -> str | None:
    """The columns as an entry of the fingerprint."""
    return json.dumps(job.columns.constants) if job.columns.constants else None


def check_constants(options: ColumnOptions, others: Collection[str]) -> None:
    """Raise UsageError if a constant has the name of another one, or of another output column."""
    taken = set(others)
    for name, _ in options.constants:
        if name in taken:
            raise UsageError(f"--constant {name}: there is another output column of this name; choose another name")
        taken.add(name)


def with_digest(job: ScoreJob, digest: str) -> ScoreJob:
    """The job with the digest of its bundle in its constants."""
    constants = tuple((name, value.replace(DIGEST, digest)) for name, value in job.columns.constants)
    return replace(job, columns=replace(job.columns, constants=constants)) if constants else job
