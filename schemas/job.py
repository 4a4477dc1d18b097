"""A TOML job file: the options of `scoreline score`, by their names with underscores."""

import codecs
from datetime import date
from typing import Annotated, Literal

from pydantic import (
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from .base import Schema, Sha256

#: One ASCII character, except line ends and NUL.
Delimiter = Annotated[str, StringConstraints(pattern=r"^[\x01-\x09\x0b\x0c\x0e-\x7f]$")]
#: One printable ASCII character, or a tab: for quotes and escapes.
Character = Annotated[str, StringConstraints(pattern=r"^[\t\x20-\x7e]$")]


class CsvSection(Schema):
    """`[csv]`: the dialect of CSV files that are not comma-separated UTF-8 with a header."""

    #: As Hive writes it: "\\u0001".
    delimiter: Delimiter = ","
    #: Empty: cells are never quoted.
    quote: Character | Literal[""] = '"'
    #: Precedes a quote, delimiter, newline or escape that is part of a cell. Empty: a quote is doubled.
    escape: Character | Literal[""] = ""
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    #: Texts that mean a missing value in features, besides the empty cell.
    nulls: list[str] = []
    #: The names of the columns, if the first row is not a header.
    columns: Annotated[list[str], Field(min_length=1)] | None = None

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "".encode(encoding)  # refuses what is not an encoding of text, such as base64
            name = codecs.lookup(encoding).name
            if name in ("idna", "punycode"):
                raise LookupError(name)  # of the names of domains, not of files
            return name.removesuffix("-sig")  # a byte order mark is always skipped
        except LookupError as error:
            raise ValueError(
                "is not an encoding that Python knows, such as utf-8, latin-1, cp1252 or utf-16"
            ) from error

    @model_validator(mode="after")
    def _apart(self) -> "CsvSection":
        characters = [one for one in (self.delimiter, self.quote, self.escape) if one]
        if len(set(characters)) < len(characters):
            raise ValueError("delimiter, quote and escape must differ from each other")
        return self


#: Of a setting of `[storage]`.
Text = Annotated[StrictStr, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")]


class StorageSection(Schema):
    """`[storage]`: where object storage is and who asks, by the names of the standard environment variables, which take
    precedence. Secrets are not among them: they belong in the environment."""

    aws_endpoint_url: Text | None = None
    aws_region: Text | None = None
    aws_role_arn: Text | None = None
    aws_web_identity_token_file: Text | None = None
    aws_skip_signature: StrictBool | None = None
    google_application_credentials: Text | None = None
    google_base_url: Text | None = None
    google_skip_signature: StrictBool | None = None
    azure_storage_account_name: Text | None = None
    azure_storage_endpoint: Text | None = None
    azure_tenant_id: Text | None = None
    azure_client_id: Text | None = None
    azure_federated_token_file: Text | None = None
    azure_skip_signature: StrictBool | None = None
    #: Use the credentials of the machine's metadata service.
    scoreline_instance_credentials: StrictBool | None = None

    def variables(self) -> dict[str, str]:
        """The environment variables that are set here."""
        given = self.model_dump()
        return {name.upper(): "1" if value is True else value for name, value in given.items() if value}


#: The environment variables that `[storage]` can set.
STORAGE_VARIABLES = tuple(name.upper() for name in StorageSection.model_fields)


class JobFile(Schema):
    """Every option of `scoreline score`, `[csv]` and `[storage]`; the command line and the environment take precedence.

    Paths are relative to the folder of the job file, so that the job means the same from any directory. The options are
    defined in `pipeline/planning/option_table.py`, in this order; values are parsed there.
    """

    bundle: str | None = None
    input: str | None = None
    output: str | None = None
    format: str | None = None
    keys: str | list[str] | None = None
    prefix: str | None = None
    probabilities: Literal["columns", "list", "none"] | None = None
    top_k: Annotated[StrictInt, Field(ge=1)] | None = None
    hidden: list[StrictStr] | None = None
    explain: Literal["integrated-gradients", "shapley", "lime", "occlusion"] | None = None
    explain_rows: StrictStr | None = None
    explain_target: StrictStr | StrictBool | StrictInt | StrictFloat | None = None
    threshold: StrictFloat | StrictInt | StrictStr | list[StrictFloat | StrictInt | StrictStr] | None = None
    constant: list[StrictStr] | StrictStr | None = None
    device: str | None = None
    precision: Literal["fp32", "tf32", "bf16", "fp16", "int8"] | None = None
    compile: StrictBool | None = None
    deterministic: StrictBool | None = None
    dedupe: StrictBool | None = None
    batch_size: StrictInt | StrictStr | None = None
    split_rows: StrictInt | StrictStr | None = None
    memory: StrictInt | StrictStr | None = None
    max_rejects: StrictInt | StrictStr | None = None
    max_drift: StrictFloat | StrictInt | StrictStr | None = None
    trust: list[Sha256] | None = None
    force: StrictBool | None = None
    prune: StrictBool | None = None
    moved_input: StrictBool | None = None
    profile: StrictBool | None = None
    shard: StrictStr | None = None
    engine: Literal["auto", "local", "processes", "ray"] | None = None
    address: str | None = None
    workers: Annotated[StrictInt, Field(ge=1)] | None = None
    gpus_per_worker: Annotated[StrictInt, Field(ge=1)] | None = None
    run_date: date | StrictInt | StrictStr | None = None
    time_zone: str | None = None
    run_id: str | None = None
    metrics: str | None = None
    trace: str | None = None
    log_format: Literal["auto", "text", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    progress: StrictBool | None = None
    csv: CsvSection | None = None
    storage: StorageSection | None = None
