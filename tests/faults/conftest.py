"""Runs under the layer, over outputs in every state that a run may find."""

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from bench import Bench, OpenBench, visible
from forked_runs import ForkedRuns
from layer import Layer, build
from remote_runs import PROGRAM
from request_bench import OpenRequestBench, RequestBench
from request_bench import visible as visible_objects

from conftest import Example
from described import save_described
from object_storage import MotoStorage, Service, new_bucket, use_service
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


@pytest.fixture(scope="session")
def remote_storage(moto_service: Service) -> Iterator[MotoStorage]:
    """A bucket for the runs of other processes, whose objects nobody removes."""
    with pytest.MonkeyPatch.context() as patch:
        use_service(moto_service, patch)
        created = new_bucket(moto_service, MotoStorage)
        storage = created.__enter__()
    yield storage
    created.__exit__(None, None, None)


@pytest.fixture(scope="session")
def runner(
    remote_storage: MotoStorage, iris: Example, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], ForkedRuns]]:
    """Processes by number, each of which makes one run at a time. The id of its key names it."""
    started: dict[int, ForkedRuns] = {}

    def start(number: int) -> ForkedRuns:
        if number not in started:
            folder = tmp_path_factory.mktemp("runner")
            iris.frame.to_parquet(folder / "in.parquet", index=False)
            with pytest.MonkeyPatch.context() as patch:
                use_service(remote_storage.service, patch)
                patch.setenv("AWS_ACCESS_KEY_ID", f"runner-{number}")
                started[number] = ForkedRuns(folder, os.environ, PROGRAM)
            words = ["--bundle", str(iris.bundle), "--input", str(folder / "in.parquet")]
            started[number].warm_up(["score", *words, "--output", str(folder / "out")])
        return started[number]

    yield start
    for one in started.values():
        one.close()


@pytest.fixture(scope="session")
def open_request_bench(
    remote_storage: MotoStorage,
    runner: Callable[[int], ForkedRuns],
    iris: Example,
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenRequestBench:
    """Benches with a number of flows, and a fresh output; a complete one that another option has made; parts that are
    uploaded in several requests; shards that score it in turn."""
    storage, forked, folder = remote_storage, runner(0), tmp_path_factory.mktemp("data")
    frame = iris.frame.copy()
    frame.loc[[17, 90], iris.features[0]] = np.nan
    frame.to_parquet(folder / "a.parquet", index=False, row_group_size=75)
    iris.frame.head(60).to_csv(folder / "b.csv", index=False)
    data, bundle = storage.upload(folder, "in/"), storage.upload(iris.bundle, "models/iris/")
    base = ["score", "--split-rows", "75", "--max-rejects", "9", "--log-format", "json"]

    def words(prefix: str, *more: str) -> list[str]:
        return [*base, "--bundle", bundle, "--input", data, "--output", f"{storage.uri}/{prefix}", *more]

    def complete(prefix: str, *more: str) -> str:
        options = {"flows": 1, "backoff_ms": 1, "forked": True}
        code, output = forked.run({"commands": [words(prefix, *more)], **options})
        assert code == 0, output
        return prefix

    wanted = visible_objects(storage, complete("wanted/"))
    earlier = complete("earlier/", "--top-k", "2")

    @cache
    def open_one(kind: str, flows: int) -> RequestBench:
        prefix = f"{kind.replace(' ', '-')}-{flows}/"
        commands = [words(prefix)]
        if kind == "shards":
            shards = [words(prefix, "--shard", f"{number}/2") for number in (1, 2)]
            commands = [*shards, ["finish", f"{storage.uri}/{prefix}", "--log-format", "json"], words(prefix)]
        options = {"flows": flows, "backoff_ms": 1}
        return RequestBench(
            forked, storage, prefix, commands, earlier=earlier if kind == "other option" else None, wanted=wanted,
            options=options | ({"multipart_bytes": 1000} if kind == "multipart" else {}),
        )  # fmt: skip

    return open_one
