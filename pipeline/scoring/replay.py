"""Golden rows through the whole line, compared with what they gave when the bundle was saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from torch import Tensor

from ..bundle.columns import output_fields
from ..bundle.golden import WIDER, GoldenRows, Raw, compare
from ..errors import BundleError, GoldenMismatchError, ModelFailedError, ScorelineError, one_line
from ..features.kinds import kind_of
from ..inputs.columns import check_columns
from ..model.modes import pinned
from ..model.precision import TOLERANCE
from ..options import DEFAULTS
from ..tasks.decode import check_shape, raw_arrays
from .block import Block
from .line import compose, execute

if TYPE_CHECKING:
    from .batches import DecodedBatch, RawBatch
    from .loaded import LoadedBundle


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenReport:
    """How the golden rows were reproduced: how many, where the expected values came from, the largest difference."""

    rows: int
    source: Literal["model", "expected"]
    largest_difference: float


@pinned()
def raw_and_columns(loaded: LoadedBundle, features: pa.RecordBatch) -> tuple[dict[str, Raw], DecodedBatch]:
    """Raw outputs and decoded columns of a few rows, at the bundle's own defaults.

    Raises:
        ModelFailedError: the model fails on all of them together, whatever it makes of each.
        BundleError: a raw output has another shape than its head asks for.
    """
    manifest, line = loaded.manifest, compose(loaded)
    stages = line.score_until("decode")
    forward = [stage.name for stage in stages].index("forward")
    block = execute(stages[:forward], line.load(Block(batch=features)))
    num_rows = block.need_features().num_kept
    raw = _run_together(loaded, block) if num_rows else loaded.no_rows()
    for head in manifest.heads:
        output = raw.heads[head.name]
        if isinstance(output, Tensor):
            check_shape(head, output[:, : output.shape[1] // len(loaded.members)], num_rows)
    block = execute(stages[forward + 1 :], block.with_raw(raw))
    return raw_arrays(manifest.heads, raw.heads), block.need_decoded()


def _run_together(loaded: LoadedBundle, block: Block) -> RawBatch:
    try:
        return loaded.run(block.need_sent())
    except (ScorelineError, MemoryError):
        raise
    except Exception as error:  # whatever a model raises
        raise ModelFailedError(f"the model fails: {one_line(error)}") from error


@pinned()
def replay(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    """Score the golden rows by the whole line and compare.

    Raises:
        BundleError: the model cannot score them.
        GoldenMismatchError: they are not reproduced.
    """
    manifest = loaded.manifest
    if golden.features.num_rows != manifest.golden.rows:
        raise BundleError(f"golden.parquet has {golden.features.num_rows} rows, not {manifest.golden.rows}")
    try:
        check_columns(golden.features.schema, manifest.features, text=(), source="golden.parquet")
        raw, decoded = raw_and_columns(loaded, golden.features)
    except BundleError:
        raise
    except Exception as error:  # whatever a file can make torch or Arrow raise
        raise BundleError(f"the golden rows cannot be scored: {one_line(error)}") from error
    if decoded.rejects:
        reject = decoded.rejects[0]
        raise BundleError(f"golden row {reject.positions[0]} is rejected: {reject.column} {reject.reasons[0]}")
    names = [field.name for field in output_fields(manifest, DEFAULTS)][: len(decoded.columns)]
    columns = dict(zip(names, decoded.columns, strict=True))
    wider = WIDER[manifest.golden.fitted_in] * TOLERANCE[loaded.precision]
    largest = compare(golden, raw, columns, wider=wider, ties=manifest.golden.source == "model")
    return GoldenReport(rows=golden.features.num_rows, source=manifest.golden.source, largest_difference=largest)


@pinned()
def settle_layout(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    """Replay the golden rows, and find out whether the model takes the rows of tables column by column: one that
    views them otherwise gets each row contiguous in memory.

    Raises as `replay` does.
    """
    passes = loaded.members.passes
    try:
        return _replay_two_at_least(loaded, golden)
    except BundleError:
        if passes.contiguous or not any(kind_of(entry).tabular for entry in loaded.manifest.inputs):
            raise
        passes.contiguous = True
        try:
            return _replay_two_at_least(loaded, golden)
        except BundleError:
            passes.contiguous = False
        raise


def _replay_two_at_least(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    """The same with two rows at least: one alone is laid out both ways."""
    report = replay(loaded, golden)
    if golden.features.num_rows == 1:
        try:
            raw_and_columns(loaded, golden.features.take(pa.array([0, 0])))
        except ModelFailedError as error:
            raise BundleError(f"two golden rows cannot be scored: {error}") from error
    return report


def probe(loaded: LoadedBundle, golden: GoldenRows) -> None:
    """All golden rows at once through a model that was compiled, so that what fails fails once; then as ever."""
    line = compose(loaded)
    loaded.run(execute(line.score_until("transfer"), line.load(Block(batch=golden.features))).need_sent())
    try:
        replay(loaded, golden)
    except GoldenMismatchError as error:
        raise GoldenMismatchError(f"it gives other values for the golden rows: {error.finding}") from error
