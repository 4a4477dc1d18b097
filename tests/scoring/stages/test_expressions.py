"""The stage: what it replaces, and whose engine it uses."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

duckdb = pytest.importorskip("duckdb")

from scoreline.pipeline.errors import DataError  # noqa: E402
from scoreline.pipeline.inputs.check import check_batch  # noqa: E402
from scoreline.pipeline.scoring.block import Block  # noqa: E402
from scoreline.pipeline.scoring.line import compose  # noqa: E402
from scoreline.pipeline.scoring.loaded import LoadedBundle  # noqa: E402
from scoreline.pipeline.scoring.stages.expressions import Expressions  # noqa: E402

from expression_models import raw_rows, save  # noqa: E402
from scoreline import Scorer  # noqa: E402


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedBundle:
    """A bundle with three expressions."""
    path = tmp_path_factory.mktemp("stage") / "b"
    save(path)
    return Scorer.load(path, device="cpu").loaded


def checked_block(loaded: LoadedBundle, rows: int) -> Block:
    """A block after `check`; the first row is a reject by then."""
    frame = raw_rows(rows)
    batch = pa.RecordBatch.from_pandas(frame, preserve_index=False)
    checked = check_batch(batch, loaded.manifest.features, unreadable={0: "is cut off"})
    return Block(batch=batch, checked=checked)


def test_results_replace_raw_columns(loaded: LoadedBundle) -> None:
    """Numbers as float64 and text as Arrow, for the rows that `check` kept; positions are those in the block."""
    block = Expressions(loaded.manifest, loaded.engines)(checked_block(loaded, 10))
    checked = block.need_checked()
    assert set(checked.columns) == {"hour", "amount_log", "city"}
    np.testing.assert_array_equal(checked.columns["hour"], raw_rows(10).ts.dt.hour[1:])
    assert checked.kept is not None
    assert checked.kept.tolist() == list(range(1, 10))
    assert (block.num_rows, checked.num_kept) == (9, 9)


def test_no_rows(loaded: LoadedBundle) -> None:
    """A block of which no row is left."""
    batch = pa.RecordBatch.from_pandas(raw_rows(1), preserve_index=False)
    features = compose(loaded).load(Block(batch=batch, unreadable={0: "is cut off"})).need_features()
    assert (features.num_kept, len(features.rejects)) == (0, 1)


def test_engines_are_used_again(loaded: LoadedBundle) -> None:
    """Lines that exist at the same time have engines of their own; the next lines take theirs."""
    loaded.engines.clear()
    one, other = compose(loaded), compose(loaded)
    assert loaded.engines == []
    del one, other
    assert len(set(loaded.engines)) == 2
    again = compose(loaded)
    assert len(loaded.engines) == 1
    del again
    assert len(loaded.engines) == 2


def test_a_failed_engine_is_not_used_again(loaded: LoadedBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB's connection is of no use after an internal error: the next line has another engine, and scores."""
    loaded.engines.clear()
    stage = Expressions(loaded.manifest, loaded.engines)

    def fail(_: str) -> None:
        raise duckdb.InternalException("INTERNAL Error: a bug")

    def ignore(*_: object) -> None:
        """Do nothing."""

    with monkeypatch.context() as patch:
        broken = SimpleNamespace(sql=fail, register=ignore, unregister=ignore, interrupt=ignore)
        patch.setattr(stage._engine, "_connection", broken)
        with pytest.raises(DataError, match="bug of DuckDB"):
            stage(checked_block(loaded, 10))
    del stage
    assert loaded.engines == []
    assert Expressions(loaded.manifest, loaded.engines)(checked_block(loaded, 10)).num_rows == 9
