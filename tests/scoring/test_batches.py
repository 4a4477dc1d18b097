"""The positions of rows that reach the model, fail in it, or are scored."""

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.records import FeatureBatch
from scoreline.pipeline.scoring.batches import DecodedBatch, RawBatch, kept_positions, positions_or_all


def features(rows: int, kept: list[int] | None) -> FeatureBatch:
    batch = pa.record_batch({"row": pa.array(range(rows), pa.int64())})
    return FeatureBatch(batch=batch, inputs={}, kept=None if kept is None else np.array(kept, dtype=np.int64))


@settings(max_examples=40)
@given(st.integers(0, 8), st.data())
def test_every_row_is_scored_or_rejected(rows: int, data: st.DataObject) -> None:
    """Of the rows that earlier stages kept, those that the model failed on are rejects, in order."""
    kept = data.draw(st.none() | st.sets(st.integers(0, max(0, rows - 1)), max_size=rows).map(sorted))
    given = features(rows, kept if rows else None)
    reached = list(range(rows)) if given.kept is None else given.kept.tolist()
    failed = data.draw(st.sets(st.sampled_from(range(len(reached)))) if reached else st.just(set()))
    raw = RawBatch(heads={}, failed={at: f"no {at}" for at in data.draw(st.permutations(sorted(failed)))})
    scored = positions_or_all(raw.kept(given), rows).tolist()
    rejects = raw.rejects(given)
    assert scored == [row for at, row in enumerate(reached) if at not in failed]
    assert [int(row) for reject in rejects for row in reject.positions] == [reached[at] for at in sorted(failed)]
    assert [reason for reject in rejects for reason in reject.reasons] == [f"no {at}" for at in sorted(failed)]
    assert {(reject.stage, reject.column) for reject in rejects} <= {("forward", "")}
    assert kept_positions(given).tolist() == reached


def test_a_whole_block_needs_no_positions() -> None:
    """None means all rows, so that nothing is copied."""
    assert RawBatch(heads={"output": torch.zeros(3, 1)}).kept(features(3, None)) is None


def test_the_number_of_scored_rows() -> None:
    """Those that are kept, or all."""
    batch = features(3, None).batch
    none = np.zeros(3, dtype=np.bool_)

    def decoded(kept: np.ndarray | None) -> DecodedBatch:
        return DecodedBatch(batch=batch, columns=(), kept=kept, rejects=(), out_of_bounds=none, above_threshold=none)

    assert decoded(None).num_rows == 3
    assert decoded(np.array([1])).num_rows == 1
