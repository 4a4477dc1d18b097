"""Bundles of models of lists in the commands: options, layout, resuming, golden rows, modified bundles."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import nn

from conftest import Result
from sequence_models import (
    CLOSE,
    LENGTHS,
    TAGS,
    TEXT,
    alone,
    drawn,
    load,
    log_softmax,
    read,
    rejected,
    score,
    table,
    write,
)

pytestmark = pytest.mark.usefixtures("one_core")

Command = Callable[..., Result]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dedupe"], "--dedupe is for tables, and input 'x' consists of sequences"),
        (["--explain", "occlusion"], "--explain is for tables, and input 'x' consists of sequences"),
        (["--top-k", "2"], "--top-k is for multiclass, but the bundle's task is tagging"),
        (["--threshold", "0.4"], "and a regression that was saved with a threshold, but the bundle's task is tagging"),
        (["--hidden", "end"], "those of sequences vary in length"),
    ],
)
def test_options_that_do_not_apply_to_lists(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], words: list[str], message: str
) -> None:
    """One line, exit code 2, and no output."""
    write(table("words", drawn("words", LENGTHS)), tmp_path)
    done = score(scoreline, words_bundle[0], tmp_path, *words)
    assert done.code == 2
    assert message in done.message
    assert len([event for event in done.events if event["event"] == "command_failed"]) <= 1
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_how_tags_are_laid_out(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """All probabilities, none, a prefix; labels are independent of the batch size."""
    bundle, model = words_bundle
    rows = drawn("words", LENGTHS, seed=12)
    write(table("words", rows), tmp_path)
    raw = alone(model, "real", "words", rows)
    labels = [[TAGS[at] for at in outputs.argmax(axis=1)] for outputs in raw]
    assert score(scoreline, bundle, tmp_path, "--probabilities", "list", "--prefix", "p_").code == 0
    got = read(tmp_path)
    assert got.schema.names == ["id", "p_prediction", "p_probabilities"]
    assert got.schema.field("p_probabilities").type == pa.list_(pa.list_(pa.float32(), 4))
    assert got["p_prediction"].to_pylist() == labels
    for found, outputs in zip(got["p_probabilities"].to_pylist(), raw, strict=True):
        np.testing.assert_allclose(np.log(found), log_softmax(outputs), atol=CLOSE)
    for number, words in enumerate((["none"], ["none", "--batch-size", 1], ["none", "--batch-size", 5])):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "in").symlink_to(tmp_path / "in")
        assert score(scoreline, bundle, tmp_path / str(number), "--probabilities", *words).code == 0
        got = read(tmp_path / str(number))
        assert got.schema.names == ["id", "prediction"]
        assert got["prediction"].to_pylist() == labels


def test_a_removed_part_is_rewritten_the_same(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]
) -> None:
    """Byte for byte, and only that part."""
    rows = drawn("words", LENGTHS * 5, seed=13)
    rows[8] = None
    write(table("words", rows), tmp_path, row_group_size=17)
    words = ["--split-rows", 50, "--batch-size", 16, "--max-rejects", 1]
    assert score(scoreline, words_bundle[0], tmp_path, *words).code == 0
    parts = sorted((tmp_path / "out").glob("*.parquet"))
    assert len(parts) == 3
    before = [part.read_bytes() for part in parts]
    parts[1].unlink()
    again = score(scoreline, words_bundle[0], tmp_path, *words)
    assert again.code == 0
    assert again.event("run_started")["to_score"] == {"missing": 1}
    assert [part.read_bytes() for part in parts] == before
    assert scoreline("verify", tmp_path / "out").code == 0
    parts[2].write_bytes(before[0])
    assert scoreline("verify", tmp_path / "out").code != 0


def test_nothing_and_nothing_good(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """A file without rows, and one in which all rows are rejected."""
    write(table("words", []), tmp_path, "none.parquet")
    write(table("words", [None, [], ["never seen"]]), tmp_path, "bad.parquet")
    done = score(scoreline, words_bundle[0], tmp_path, "--max-rejects", "100%")
    assert done.code == 0, done.err
    for name in ("none.parquet", "bad.parquet"):
        got = read(tmp_path, name)
        assert (got.num_rows, got.schema.field("prediction").type) == (0, pa.list_(TEXT))
    assert len(rejected(tmp_path, "bad.arrow")) == 3
    assert scoreline("verify", tmp_path / "out").code == 0


def test_a_bundle_that_was_moved(scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module]) -> None:
    """It reproduces its golden rows at the new path, with the same results."""
    rows = drawn("words", LENGTHS, seed=14)
    before = load(words_bundle[0]).score_table(table("words", rows))
    shutil.copytree(words_bundle[0], tmp_path / "elsewhere" / "ß")
    scorer = load(tmp_path / "elsewhere" / "ß")
    assert scorer.golden is not None
    assert scorer.golden.rows == 2 * len(LENGTHS)
    assert scorer.golden.largest_difference < CLOSE
    assert scorer.score_table(table("words", rows)).equals(before)


def test_golden_rows_contain_the_outputs_of_bare_torch(words_bundle: tuple[Path, nn.Module]) -> None:
    """The lists themselves, and their outputs without padding."""
    folder, model = words_bundle
    golden = pq.read_table(folder / "golden.parquet").to_pylist()
    rows = [row["feature:x"] for row in golden]
    assert len(rows) == 2 * len(LENGTHS)
    for row, outputs in zip(golden, alone(model, "real", "words", rows), strict=True):
        np.testing.assert_allclose(row["raw:output"], outputs, atol=CLOSE)
        assert row["column:prediction"] == [TAGS[at] for at in outputs.argmax(axis=1)]


@pytest.mark.parametrize("harm", ["vocabulary", "unknown", "longest", "mask", "pad", "labels", "weights"])
def test_modified_bundles_are_noticed(
    scoreline: Command, tmp_path: Path, words_bundle: tuple[Path, nn.Module], harm: str
) -> None:
    """Two swapped words, another label, other weights: nothing is scored. A change that no golden row shows, such as a
    new word, only rejects rows."""
    shutil.copytree(words_bundle[0], tmp_path / "b")
    described = json.loads((tmp_path / "b" / "bundle.json").read_text())
    encoding, entry = described["steps"][0]["encodings"][0], described["inputs"][0]
    if harm == "vocabulary":
        words = encoding["categories"]
        words[3], words[4] = words[4], words[3]
    elif harm == "unknown":
        encoding["unknown"] = 99.0
    elif harm == "longest":
        entry["longest"] = 5
    elif harm == "mask":
        entry["mask"] = "padding"
    elif harm == "pad":
        entry["pad"] = 99
    elif harm == "labels":
        described["heads"][0]["labels"] = TAGS[::-1]
    else:
        (weights,) = (tmp_path / "b").glob("*.safetensors")
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(bytes(data))
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(described))
    write(table("words", [["never seen"]] if harm == "unknown" else drawn("words", LENGTHS)), tmp_path)
    assert score(scoreline, tmp_path / "b", tmp_path).code == (65 if harm == "unknown" else 78)
    assert not list((tmp_path / "out").rglob("*.parquet"))
