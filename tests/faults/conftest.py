"""Runs under the layer, over outputs in every state that a run may find."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from bench import Bench, OpenBench, visible
from layer import Layer, build

from conftest import Example
from described import save_described
from textbook import ClassificationModel, randomized


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """The parent process of every run."""
    scratch = tmp_path_factory.mktemp("layer")
    try:
        library = build(scratch)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no C compiler here: {error}")
    opened = Layer(library, scratch)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def three_files(tmp_path_factory: pytest.TempPathFactory, iris: Example) -> Path:
    """A file of several splits, each a row group, with rejects; a CSV with a ragged row; a file in a folder of its
    own."""
    folder = tmp_path_factory.mktemp("data")
    frame = iris.frame.copy()
    frame.loc[[17, 90], iris.features[0]] = np.nan
    frame.to_parquet(folder / "a.parquet", index=False, row_group_size=40)
    lines = iris.frame.head(60).to_csv(index=False).splitlines()
    (folder / "b.csv").write_text("\n".join([*lines[:20], "ragged,row", *lines[20:]]))
    (folder / "day=1").mkdir()
    iris.frame.head(50).to_parquet(folder / "day=1" / "c.parquet", index=False)
    return folder


@pytest.fixture(scope="session")
def other_bundle(iris: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same features and labels with other weights."""
    torch.manual_seed(8)
    model = randomized(ClassificationModel(len(iris.features), [8], len(iris.labels)))
    folder = tmp_path_factory.mktemp("other") / "bundle"
    save_described(
        folder, model, features=iris.features, task=iris.task, scaler=iris.scaler, labels=iris.labels,
        sample=iris.frame,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def open_bench(
    layer: Layer, three_files: Path, iris: Example, other_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> OpenBench:
    """Benches with a number of flows, and a fresh output, or a complete one that another model, option or split size
    has made, or the same before an input was changed."""
    folder = tmp_path_factory.mktemp("outputs")
    base = ["score", "--input", str(three_files), "--max-rejects", "9"]
    words = [*base, "--bundle", str(iris.bundle), "--split-rows", "40", "--prefix", "p_"]

    layer.warm_up([*words, "--output", str(folder / "first")])

    def complete(name: str, words: list[str]) -> Path:
        ended = layer.run([*words, "--output", str(folder / name)], below=folder / name, flows=1)
        assert ended.code == 0, ended.output
        return folder / name

    earlier: dict[str, Path | None] = {"fresh": None, "touched input": complete("touched", words)}
    times = (three_files / "a.parquet").stat()
    os.utime(three_files / "a.parquet", ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000_000))
    earlier["other split size"] = complete("size", [*base, "--bundle", str(iris.bundle), "--split-rows", "100"])
    earlier["other option"] = complete("option", [*words[:-2], "--top-k", "2"])
    earlier["other model"] = complete("model", [*words, "--bundle", str(other_bundle)])
    wanted = visible(complete("wanted", words))
    assert pq.read_table(folder / "wanted" / "a-00001.parquet").num_rows == 40

    @cache
    def open_one(kind: str, flows: int) -> Bench:
        out = folder / f"{kind} {flows}"
        return Bench(
            layer, [*words, "--output", str(out)], out, flows=flows, earlier=earlier[kind], wanted=wanted
        )  # fmt: skip

    return open_one
