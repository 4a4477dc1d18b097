"""Replays the golden rows through the whole line and compares the results with those stored in the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from torch import Tensor

from ..bundle.columns import output_fields
from ..bundle.golden import GOLDEN, WIDER, GoldenRows, Raw, compare, differ_by_rounding
from ..bundle.heads import head_fields
from ..errors import (
    BundleError,
    DeviceFailedError,
    GoldenMismatchError,
    ModelFailedError,
    ScorelineError,
    counted,
    one_line,
)
from ..features.kinds import kind_of
from ..inputs.columns import check_columns
from ..model.modes import pinned
from ..model.onednn import for_few_rows
from ..model.precision import TOLERANCE
from ..options import DEFAULTS
from ..tasks.decode import check_shape, decode_head, raw_arrays, raw_tensors
from ..tasks.tasks import task_of
from .block import Block
from .line import compose, execute

if TYPE_CHECKING:
    from ...schemas.bundle import BundleManifest
    from .batches import DecodedBatch
    from .loaded import LoadedBundle


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenReport:
    """The result of a replay: the number of rows, the origin of the expected values, the largest difference."""

    rows: int
    source: Literal["model", "expected"]
    largest_difference: float


@pinned()
def raw_and_columns(loaded: LoadedBundle, features: pa.RecordBatch) -> tuple[dict[str, Raw], DecodedBatch]:
    """Raw outputs and decoded columns of a few rows, with the bundle's defaults.

    Raises:
        ModelFailedError: the model fails on the rows as one batch.
        BundleError: the shape of a raw output does not match its head.
    """
    manifest, line = loaded.manifest, compose(loaded)
    stages = line.score_until("decode")
    forward = [stage.name for stage in stages].index("forward")
    block = execute(stages[:forward], line.load(Block(batch=features)))
    num_rows = block.need_features().num_kept
    with model_failures():
        raw = loaded.run(block.need_sent()) if num_rows else loaded.no_rows()
    for head in manifest.heads:
        output = raw.heads[head.name]
        if isinstance(output, Tensor):
            check_shape(head, output[:, : output.shape[1] // len(loaded.members)], num_rows)
    block = execute(stages[forward + 1 :], replace(block, raw=raw))
    return raw_arrays(manifest.heads, raw.heads), block.need_decoded()


@contextmanager
def model_failures() -> Iterator[None]:
    """Raise ModelFailedError for whatever a model raises in the block."""
    try:
        yield
    except (ScorelineError, MemoryError):
        raise
    except Exception as error:
        raise ModelFailedError(f"the model fails: {one_line(error)}") from error


@pinned()
def replay(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    """Score the golden rows with the whole line and compare.

    Raises:
        BundleError: the model cannot score them.
        DeviceFailedError: the GPU fails, or has no memory for one row.
        GoldenMismatchError: they were not reproduced.
    """
    manifest = loaded.manifest
    if golden.features.num_rows != manifest.golden.rows:
        raise BundleError(f"golden.parquet has {counted(golden.features.num_rows, 'row')}, not {manifest.golden.rows}")
    try:
        check_columns(golden.features.schema, manifest.features, text=(), source=GOLDEN)
        with for_few_rows():
            raw, decoded = raw_and_columns(loaded, golden.features)
    except BundleError:
        raise
    except DeviceFailedError as error:
        if loaded.device.torch.type == "cuda":
            raise
        raise BundleError(f"the golden rows cannot be scored: {error}") from error
    except Exception as error:  # whatever torch or Arrow raises on a damaged file
        raise BundleError(f"the golden rows cannot be scored: {one_line(error)}") from error
    if decoded.rejects:
        reject = decoded.rejects[0]
        raise BundleError(f"golden row {reject.positions[0]} is rejected: {reject.column} {reject.reasons[0]}")
    names = [field.name for field in output_fields(manifest, DEFAULTS)][: len(decoded.columns)]
    columns = dict(zip(names, decoded.columns, strict=True))
    wider = WIDER[manifest.golden.fitted_in] * TOLERANCE[loaded.precision]
    check = partial(compare, by_column=_with_own_units(manifest), wider=wider, ties=manifest.golden.source == "model")
    try:
        largest = check(golden, raw, columns)
    except GoldenMismatchError:
        # Where logits are large, their rounding changes probabilities. It is enough that the raw outputs differ by a
        # few roundings, and that those of the golden rows still are decoded to their columns.
        stored = _decoded(manifest, golden, len(loaded.members))
        if stored is None or not differ_by_rounding(golden.raw, raw, by_column=_with_independent_outputs(loaded)):
            raise
        largest = check(golden, golden.raw, dict(zip(names, stored, strict=True)))
    return GoldenReport(rows=golden.features.num_rows, source=manifest.golden.source, largest_difference=largest)


def _with_own_units(manifest: BundleManifest) -> set[str]:
    """The heads, and the columns of their predictions, whose outputs each have a unit."""
    heads = [head for head in manifest.heads if task_of(head).outputs_have_units]
    return {head.name for head in heads} | {
        field.name for head in heads for field in head_fields(manifest, head, DEFAULTS)
    }


def _with_independent_outputs(loaded: LoadedBundle) -> set[str]:
    """The heads whose raw outputs are not compared with one another, as those of several classes are."""
    heads = [(head.name, task_of(head)) for head in loaded.manifest.heads]
    return {name for name, t in heads if t.outputs_have_units or t.independent_labels or t.name == "binary"}


def _decoded(manifest: BundleManifest, golden: GoldenRows, num_members: int) -> list[pa.Array] | None:
    """The columns of the golden raw outputs, as they are decoded now; None where the outputs are texts."""
    if any(task_of(head).generates for head in manifest.heads):
        return None
    raw = ((head, raw_tensors(golden.raw[head.name])) for head in manifest.heads)
    decoded = (decode_head(head, one, DEFAULTS, manifest.ensemble, num_members) for head, one in raw)
    return [column for head in decoded for column in head.columns]


@pinned()
def settle_layout(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    """Replay the golden rows, and determine the memory layout of tables: column by column, or, for models that cannot
    view that layout, with each row contiguous. A model that oneDNN does not reproduce, since it subtracts large numbers
    from one another, is multiplied by MKL.

    Raises as `replay` does.
    """
    try:
        return _settled_layout(loaded, golden)
    except GoldenMismatchError:
        if not loaded.members.use_mkl():
            raise
    return _settled_layout(loaded, golden)


def _settled_layout(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    passes = loaded.members.passes
    try:
        return _replay_at_least_two(loaded, golden)
    except BundleError:
        if passes.contiguous or not any(kind_of(entry).tabular for entry in loaded.manifest.inputs):
            raise
        passes.contiguous = True
        try:
            return _replay_at_least_two(loaded, golden)
        except BundleError:
            passes.contiguous = False
        raise


def _replay_at_least_two(loaded: LoadedBundle, golden: GoldenRows) -> GoldenReport:
    """Replay with at least two rows: a single row is contiguous in both layouts."""
    report = replay(loaded, golden)
    if golden.features.num_rows == 1:
        try:
            raw_and_columns(loaded, golden.features.take(pa.array([0, 0])))
        except ModelFailedError as error:
            raise BundleError(f"two golden rows cannot be scored: {error}") from error
    return report


def probe(loaded: LoadedBundle, golden: GoldenRows) -> None:
    """Run all golden rows through a compiled model in one batch, so that compile errors raise at once; then replay."""
    line = compose(loaded)
    loaded.run(execute(line.score_until("transfer"), line.load(Block(batch=golden.features))).need_sent())
    try:
        replay(loaded, golden)
    except GoldenMismatchError as error:
        raise GoldenMismatchError(f"it gives different values for the golden rows: {error.finding}") from error
