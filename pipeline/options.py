"""The options of a run, as frozen records. Imports nothing else of the pipeline but `errors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from .errors import counted

Precision = Literal["fp32", "tf32", "bf16", "fp16", "int8"]
Probabilities = Literal["columns", "list", "none"]
ExplainMethod = Literal["integrated-gradients", "shapley", "lime", "occlusion"]
EngineName = Literal["auto", "local", "processes", "ray"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvDialect:
    """How the CSV files of a job are written.

    `delimiter`, `decimal`: one character each. `quote`, `escape`: one character, or empty for none; the character
    after an escape is taken literally, and the escape is dropped. `encoding`: a Python encoding name. `nulls`: cells
    that mean that a feature has no value, besides the empty cell; keys keep them as text. `columns`: the names of the
    columns, if the files have no header.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    decimal: str = "."
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> CsvDialect:
        """The dialect with the fields of a mapping, as read from JSON or TOML; other fields keep their defaults."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
        }
        return cls(**fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explain:
    """How attributions are computed. `share`: the share of rows, sampled by partition and row. `target`: the name of
    the class or output to explain; if empty, the predicted class or the only output."""

    method: ExplainMethod
    share: Fraction = Fraction(1)
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnOptions:
    """The columns of the output. `keys`: the columns carried through; None: all that are not features. `top_k`: how
    many of the most likely labels get columns of their own. `thresholds`: by label or head, an empty name for all;
    they override those of the bundle. `hidden`: layers whose outputs are written as well. `explain`: adds
    attributions. `constants`: columns with the same text in every row, by name."""

    keys: tuple[str, ...] | None = None
    prefix: str = ""
    probabilities: Probabilities = "columns"
    top_k: int | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    hidden: tuple[str, ...] = ()
    explain: Explain | None = None
    constants: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectBudget:
    """How many rows may be rejected: a count, or a share of all rows."""

    count: int | None = 0
    share: Fraction | None = None

    def allowed(self, num_rows: int) -> int:
        """How many of `num_rows` may be rejected."""
        return self.count if self.count is not None else int((self.share or 0) * num_rows)

    def of(self, num_rows: int | None) -> str:
        """The budget in words, a share with the rows that it is of, if their number is known."""
        rows = "" if self.count is not None or num_rows is None else f" of {counted(num_rows, 'row')}"
        return f"{self}{rows}"

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{float((self.share or 0) * 100):g}%"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One of the processes that score a job together; they are numbered from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreJob:
    """All options of one run of `scoreline score`. `seed`: for trusted code that draws random numbers; nothing else
    does. `moved_input`: the input has been moved, so existing parts that name another location belong to it.
    `shard`: score only this part of the work, for `scoreline finish`. `engine`: what scores the splits; with
    processes and Ray, `workers` is their number (None: as many as fit), and with Ray, `address` names the cluster
    (None: a local one). `max_drift`: the largest PSI of a feature or prediction with which a run succeeds; None: any.
    `planning/option_table.py` lists which option sets which field."""

    bundle: str
    input: str
    output: str
    run_id: str
    format: str = "auto"
    columns: ColumnOptions = ColumnOptions()
    csv: CsvDialect = CsvDialect()
    batch_rows: int | None = None
    split_rows: int | None = None
    memory_bytes: int | None = None
    device: str = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    seed: int = 0
    deterministic: bool = False
    dedupe: bool = False
    max_rejects: RejectBudget = RejectBudget()
    max_drift: float | None = None
    trust: tuple[str, ...] = ()
    force: bool = False
    prune: bool = False
    moved_input: bool = False
    shard: Shard | None = None
    profile: bool = True
    engine: EngineName = "auto"
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: int | None = None


#: The columns that a bundle writes without any option.
DEFAULTS = ColumnOptions()
