"""The unit that passes through the line of stages: the rows of one forward pass, with the results of each stage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from ..inputs.check import DIALECT
from ..timing import StageTimes

if TYPE_CHECKING:
    from ..model.first_rows import FirstOfBlock, FirstRows
    from ..monitoring.count import Sample
    from ..options import CsvDialect
    from ..records import CheckedBatch, FeatureBatch, ReadBlock, ScoredBatch, Sent
    from .batches import DecodedBatch, RawBatch
    from .stages.dedupe import Repeats


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where the rows of a block come from.

    `source`: the source name in rejects; `folder`: the base of relative image paths; `text`: columns whose text is
    parsed as numbers, in the format given by `dialect`; `schema`: of the rows to write, whose first `num_keys` columns
    are carried through, None if nothing is written; `first_rows`: of the file, None if its first rows were scored
    before; `about_rows`: the number of rows of the file, or an estimate by its size.
    """

    source: str = ""
    folder: str = ""
    text: Collection[str] = frozenset()
    dialect: CsvDialect = DIALECT
    schema: pa.Schema | None = None
    num_keys: int = 0
    first_rows: FirstRows | None = None
    about_rows: int = 0

    def schema_of(self, num_columns: int) -> pa.Schema:
        """The schema of the first columns to write: later stages add theirs."""
        assert self.schema is not None, "rows to write have a schema"
        return self.schema if num_columns == len(self.schema) else pa.schema(list(self.schema)[:num_columns])


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Consecutive rows of one split. A stage returns the block with its own result filled in.

    `first_row`: the number of the first row in its source; `unreadable`: rows that could not be read, by position, with
    the reason; `batch_bytes`: the size of the rows as read. `num_rows` and `num_bytes`: the size of the last stage's
    result, for the stage table. `device_s`: seconds by stage where the device has its own clock; they replace
    wall-clock time. `first`: which rows are among the first of the file that reach the model. `ends`: where
    the rows of each file end, if there are several (`together.py`).
    """

    batch: pa.RecordBatch
    origin: Origin = Origin()
    split: int = 0
    first_row: int = 0
    unreadable: Mapping[int, str] = field(default_factory=dict)
    batch_bytes: int = 0
    times: StageTimes = field(default_factory=StageTimes)
    num_rows: int = 0
    num_bytes: int = 0
    device_s: Mapping[str, float] = field(default_factory=dict)
    checked: CheckedBatch | None = None
    sample: Sample | None = None
    features: FeatureBatch | None = None
    repeats: Repeats | None = None
    first: FirstOfBlock | None = None
    ends: tuple[int, ...] = ()
    raw: RawBatch | None = None
    hidden: tuple[pa.Array, ...] = ()
    decoded: DecodedBatch | None = None
    scored: ScoredBatch | None = None

    @classmethod
    def of(cls, read: ReadBlock, origin: Origin, times: StageTimes | None = None) -> Block:
        """A block of rows from a reader; `times`: the clock that measured the reading."""
        return cls(
            batch=read.batch,
            origin=origin,
            split=read.split,
            first_row=read.first_row,
            unreadable=read.unreadable,
            batch_bytes=read.num_bytes,
            times=StageTimes() if times is None else times,
        )

    @property
    def num_to_score(self) -> int:
        """The number of rows to run through the model, once the block is loaded."""
        return self.need_features().num_kept if self.repeats is None else len(self.repeats.fresh)

    def need_checked(self) -> CheckedBatch:
        """The result of `check`."""
        assert self.checked is not None, "check comes first"
        return self.checked

    def need_sample(self) -> Sample:
        """The result of `profile`."""
        assert self.sample is not None, "profile comes first"
        return self.sample

    def need_features(self) -> FeatureBatch:
        """The result of `scale`."""
        assert self.features is not None, "scale comes first"
        return self.features

    def need_sent(self) -> Sent:
        """The result of `transfer`."""
        sent = self.need_features().sent
        assert sent is not None, "transfer comes first; blocks without rows to score are not sent"
        return sent

    def need_raw(self) -> RawBatch:
        """The result of `forward`."""
        assert self.raw is not None, "forward comes first"
        return self.raw

    def need_decoded(self) -> DecodedBatch:
        """The result of `decode`."""
        assert self.decoded is not None, "decode comes first"
        return self.decoded

    def need_scored(self) -> ScoredBatch:
        """The rows and rejects from `decode`."""
        assert self.scored is not None, "decode comes first"
        return self.scored

    def abandon(self) -> None:
        """Release everything that waits for this block, after a stage has failed."""
        if self.repeats is not None:
            self.repeats.table.give_up()
