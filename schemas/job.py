"""A TOML job file: the flags of `scoreline score`, by their names with underscores."""

from datetime import date
from typing import Literal

from pydantic import StrictBool, StrictInt, StrictStr

from .base import Schema, Sha256


class JobFile(Schema):
    """Every flag of `scoreline score`; the command line and the environment win over it.

    Paths are relative to the folder of the job file, so that the job means the same from any directory.
    """

    bundle: str | None = None
    input: str | None = None
    output: str | None = None
    keys: str | list[str] | None = None
    format: Literal["auto", "parquet", "csv"] | None = None
    batch_size: StrictInt | StrictStr | None = None
    device: str | None = None
    max_rejects: StrictInt | StrictStr | None = None
    probabilities: Literal["columns", "list", "none"] | None = None
    prefix: str | None = None
    force: StrictBool | None = None
    prune: StrictBool | None = None
    trust: list[Sha256] | None = None
    run_date: date | None = None
    run_id: str | None = None
    log_format: Literal["auto", "text", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    progress: StrictBool | None = None
