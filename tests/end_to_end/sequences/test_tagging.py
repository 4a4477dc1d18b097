"""Lists end to end: labels of every step and one prediction per list, compared with bare torch row by row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.options import ColumnOptions

from sequence_models import CLOSE, LENGTHS, TAGS, Kept, alone, check_tags, drawn, load, log_softmax, net, saved, table

pytestmark = pytest.mark.usefixtures("one_core")

MASKS = ["real", "padding", "lengths", None]


def with_masks(*kinds: str) -> list[Any]:
    """Every mask with every kind; every other pair, in which each mask and each kind is found, is a short test."""
    return [
        pytest.param(mask, kind, marks=pytest.mark.long if (row + column) % 2 else ())
        for row, mask in enumerate(MASKS)
        for column, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(("mask", "kind"), with_masks("words", "ints", "floats"))
def test_tags_of_every_step(tmp_path: Path, mask: str | None, kind: str) -> None:
    """With any mask and any lists, one row at a time or all together."""
    model = net(mask, 4, columns=2 if kind == "floats" else 0)
    saved(tmp_path / "b", model, kind, mask, task="tagging", labels=TAGS, unknown="<unk>")
    rows = drawn(kind, LENGTHS, seed=3, strange=True)
    raw = alone(model, mask, kind, rows)
    assert len({at for outputs in raw for at in outputs.argmax(axis=1)}) > 2
    for batch in (None, 1, 2, 7):
        check_tags(load(tmp_path / "b", batch).score_table(table(kind, rows)), raw)


@pytest.mark.parametrize(("mask", "task"), with_masks("multiclass", "binary", "regression"))
def test_one_prediction_for_a_list(tmp_path: Path, mask: str | None, task: str) -> None:
    """Classes, a binary label, and a number."""
    width = {"multiclass": 3, "binary": 1, "regression": 1}[task]
    labels = {"multiclass": ["x", "y", "z"], "binary": ["no", "yes"], "regression": None}[task]
    model = net(mask, width, pooled=True)
    saved(tmp_path / "b", model, "words", mask, task=task, labels=labels)
    rows = drawn("words", LENGTHS, seed=4)
    raw = np.stack(alone(model, mask, "words", rows))
    for batch in (None, 1, 5):
        got = load(tmp_path / "b", batch).score_table(table("words", rows)).to_pandas()
        assert got["id"].tolist() == [7 * at for at in range(len(rows))]
        if task == "regression":
            np.testing.assert_allclose(got["prediction"], raw[:, 0], atol=CLOSE, rtol=CLOSE)
        elif task == "binary":
            assert got["prediction"].tolist() == [["no", "yes"][int(z > 0)] for z in raw[:, 0]]
            np.testing.assert_allclose(np.log(got["probability"]), -np.logaddexp(0, -raw[:, 0]), atol=CLOSE)
        else:
            assert got["prediction"].tolist() == ["xyz"[at] for at in raw.argmax(axis=1)]
            names = [f"probability_{label}" for label in "xyz"]
            np.testing.assert_allclose(np.log(got[names]), log_softmax(raw), atol=CLOSE)


@settings(max_examples=40)
@given(data=st.data())
def test_any_lengths_and_batches(taggers: dict[str | None, Kept], data: st.DataObject) -> None:
    """Blocks of any size, read in batches of any size."""
    lengths = data.draw(st.lists(st.integers(1, 20) | st.integers(1, 70), max_size=14))
    one = taggers[data.draw(st.sampled_from(["padding", None]))]
    scorer = one.scorers[data.draw(st.sampled_from(list(one.scorers)))]
    rows = drawn("ints", lengths, seed=data.draw(st.integers(0, 1 << 30)))
    batches = table("ints", rows).to_batches(max_chunksize=data.draw(st.integers(1, 15)))
    scored = list(scorer.score_batches(batches or [pa.RecordBatch.from_pylist([], table("ints", []).schema)]))
    assert sum(part.rejects.num_rows for part in scored) == 0
    got = pa.Table.from_batches([part.rows for part in scored])
    assert got["id"].to_pylist() == [7 * at for at in range(len(rows))]
    for row, outputs in zip(got.to_pylist(), alone(one.model, one.mask, "ints", rows), strict=True):
        near = log_softmax(outputs)
        indices = [TAGS.index(label) for label in row["prediction"]]
        assert len(indices) == len(near)
        assert (
            near.max(axis=1) - near[np.arange(len(near)), indices]
        ).max() < 1e-6  # the label, or one of the same probability
        np.testing.assert_allclose(np.log(row["probability"]), near.max(axis=1), atol=CLOSE)


@settings(max_examples=30)
@given(data=st.data())
def test_rejects_do_not_change_other_rows(taggers: dict[str | None, Kept], data: st.DataObject) -> None:
    """Bad rows at any position, up to all rows."""
    bad = {
        "is null": None,
        "has no steps": [],
        "step 1 is null": [3, None],
        "has a value outside the embedding's range 0–31": [31, 32],
        "has 71 steps, but the bundle takes at most 70": [0] * 71,
    }
    good = st.lists(st.integers(0, 31), min_size=1, max_size=12)
    rows = data.draw(st.lists(good | st.sampled_from(list(bad.values())), max_size=12))
    one = taggers[data.draw(st.sampled_from(["padding", None]))]
    scorer = one.scorers[data.draw(st.sampled_from(list(one.scorers)))]
    fine = [at for at, row in enumerate(rows) if row not in bad.values()]
    got, rejects = scorer.score_table(table("ints", rows), with_rejects=True)
    assert got["id"].to_pylist() == [7 * at for at in fine]
    for row, outputs in zip(
        got.to_pylist(), alone(one.model, one.mask, "ints", [rows[at] for at in fine]), strict=True
    ):
        np.testing.assert_allclose(np.log(row["probability"]), log_softmax(outputs).max(axis=1), atol=CLOSE)
    reasons = {one["row_number"]: one["reason"] for one in rejects["reject"].to_pylist()}
    assert reasons == {at: why for at, row in enumerate(rows) for why, lists in bad.items() if row == lists}
    assert rejects["x"].to_pylist() == [rows[at] for at in reasons]


def test_an_ensemble_of_taggers(tmp_path: Path) -> None:
    """The mean of the members' probabilities, step by step."""
    models = [net("real", 4, seed=seed) for seed in (1, 2)]
    saved(tmp_path / "b", models, "ints", "real", task="tagging", labels=TAGS)
    rows = drawn("ints", LENGTHS, seed=6)
    got = list(
        load(tmp_path / "b").score_batches(
            table("ints", rows).to_batches(), options=ColumnOptions(probabilities="list")
        )
    )
    each = [alone(model, "real", "ints", rows) for model in models]
    for row, one, two in zip(got[0].rows.to_pylist(), *each, strict=True):
        mean = (np.exp(log_softmax(one)) + np.exp(log_softmax(two))) / 2
        np.testing.assert_allclose(row["probabilities"], mean, atol=1e-6)
        assert row["prediction"] == [TAGS[at] for at in mean.argmax(axis=1)]


@pytest.mark.parametrize("labels", [[3, 1, 2, 9], [0.5, 1.5, -1.0, 2.0], ["", "é", "a b", "\n"]])
def test_tags_of_any_type(tmp_path: Path, labels: list[Any]) -> None:
    """Numbers stay numbers, and unusual texts stay unchanged."""
    model = net(None, 4)
    saved(tmp_path / "b", model, "ints", None, task="tagging", labels=labels)
    rows = drawn("ints", LENGTHS)
    check_tags(load(tmp_path / "b").score_table(table("ints", rows)), alone(model, None, "ints", rows), labels)


def test_tags_that_are_true_or_false(tmp_path: Path) -> None:
    """A boolean for each step."""
    model = net("lengths", 2)
    saved(tmp_path / "b", model, "ints", "lengths", task="tagging", labels=[False, True])
    rows = drawn("ints", LENGTHS)
    got = load(tmp_path / "b").score_table(table("ints", rows))
    check_tags(got, alone(model, "lengths", "ints", rows), [False, True])
    assert got.schema.field("prediction").type == pa.list_(pa.bool_())


def test_lengths_far_apart(tmp_path: Path) -> None:
    """Lists of one step beside lists of thousands."""
    model = net(None, 4)
    saved(tmp_path / "b", model, "ints", None, longest=5000, task="tagging", labels=TAGS)
    rows = drawn("ints", [1, 5000, 1, 2, 4999, 1, 17, 900])
    check_tags(load(tmp_path / "b").score_table(table("ints", rows)), alone(model, None, "ints", rows))
