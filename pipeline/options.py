"""What a run was asked to do: frozen records. Imports nothing else of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

Precision = Literal["fp32", "bf16", "fp16", "int8"]
Probabilities = Literal["columns", "list", "none"]
ExplainMethod = Literal["integrated-gradients", "shapley", "lime", "occlusion"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvDialect:
    """How the CSV files of a job are written.

    `delimiter`, `decimal`: one character each. `quote`, `escape`: one, or none where it is empty; what stands behind an
    escape stands for itself, and the escape is dropped. `encoding`: as Python names it.
    `nulls`: the words that say that a feature has no value, beside the empty cell; keys keep theirs. `columns`: the
    names of the columns where the first row is no header.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    decimal: str = "."
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> CsvDialect:
        """The dialect of a mapping of fields to values, as JSON or TOML has them; the others keep their defaults."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in said.items()
        }
        return cls(**fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explain:
    """How attributions are made. `share`: of the rows, drawn by partition and row. `target`: the class or output to
    explain, by name; where it is empty the predicted class, or the only output."""

    method: ExplainMethod
    share: Fraction = Fraction(1)
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnOptions:
    """How predictions are laid out. `keys`: the columns carried through; None: all that are no feature. `top_k`: so
    many of the likeliest labels have columns of their own. `thresholds`: by label or head, all where the name is empty;
    they take the place of the bundle's. `hidden`: layers whose results are written as well. `explain`: attributions
    beside them."""

    keys: tuple[str, ...] | None = None
    prefix: str = ""
    probabilities: Probabilities = "columns"
    top_k: int | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    hidden: tuple[str, ...] = ()
    explain: Explain | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectBudget:
    """How many rows may be rejected: a count, or a share of all rows."""

    count: int | None = 0
    share: Fraction | None = None

    def allowed(self, num_rows: int) -> int:
        """How many of `num_rows` may be rejected."""
        return self.count if self.count is not None else int((self.share or 0) * num_rows)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{float((self.share or 0) * 100):g}%"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreJob:
    """Everything one run of `scoreline score` was asked to do. `seed`: for trusted code that draws random numbers;
    nothing else does. `moved_input`: parts in the output that name another location of their input are this input's.
    `planning/option_table.py` says which option sets which field."""

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
    trust: tuple[str, ...] = ()
    force: bool = False
    prune: bool = False
    moved_input: bool = False


#: Predictions as the bundle itself lays them out.
DEFAULTS = ColumnOptions()
