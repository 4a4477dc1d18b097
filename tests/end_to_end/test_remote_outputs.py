"""Outputs in object storage: the same parts as in a local folder, resumed and examined by their URIs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.outputs.store import MANIFEST, PARTS

from conftest import Example, Result
from object_storage import Request, Storage, every_service
from outcomes import closed, parts

Command = Callable[..., Result]


def published(storage: Storage, prefix: str = "out/") -> dict[str, bytes]:
    """The objects that `outcomes.parts` returns of a local output."""
    names = [one.key.removeprefix(prefix) for one in storage.bucket.list(prefix.removesuffix("/"))]
    return {name: storage.bucket.read(prefix + name) for name in names if not name.startswith("_scoreline/")}


@pytest.fixture
def score_to(scoreline: Command, iris: Example, four_files: Path) -> Command:
    """Score the four files of Iris, in eight splits and with rejects."""

    def call(output: object, *words: object) -> Result:
        return scoreline(
            "score", "--bundle", iris.bundle, "--input", four_files, "--output", output, "--split-rows", 100,
            "--max-rejects", 9, "--log-format", "json", *words,
        )  # fmt: skip

    return call


@every_service
def test_the_same_parts_as_in_a_folder(score_to: Command, storage: Storage, tmp_path: Path) -> None:
    """Byte for byte, with the rejects; nothing that the run leaves has a secret in it."""
    out = f"{storage.uri}/out"
    assert score_to(tmp_path / "out").code == 0
    result = score_to(out)
    assert result.code == 0, result.err
    assert published(storage) == parts(tmp_path / "out")
    assert not storage.service.shown([result.out, result.err, *storage.objects().values()])


def test_small_objects_are_read_and_written_several_at_once(
    scoreline: Command, iris: Example, storage: Storage, tmp_path: Path
) -> None:
    """So that the run waits for many requests at a time: eight of each kind are answered together, or not at all."""
    folder, together = tmp_path / "in", 8
    folder.mkdir()
    for number in range(3 * together):
        iris.frame[number : number + 5].to_parquet(folder / f"{number:02}.parquet", index=False)
    storage.upload(folder, "in/")
    words = ("score", "--bundle", iris.bundle, "--input")
    assert scoreline(*words, folder, "--output", tmp_path / "out").code == 0
    seen, lonely = Counter[str](), list[Request]()
    groups = {method: Barrier(together, timeout=20) for method in ("GET", "PUT")}

    def wait(request: Request) -> None:
        seen[f"{request.method} {request.path}"] += 1
        of_data = request.path.endswith(".parquet")
        is_scored = "/in/" in request.path and seen[f"GET {request.path}"] == 2  # the first is for the plan
        if of_data and (request.method == "PUT" or is_scored):
            try:
                groups[request.method].wait()
            except BrokenBarrierError:
                lonely.append(request)

    with storage.answering(wait):
        result = scoreline(*words, f"{storage.uri}/in/", "--output", f"{storage.uri}/out")
    assert result.code == 0, result.err
    assert lonely == []
    written = published(storage)
    for name, data in parts(tmp_path / "out").items():
        if name.endswith(".parquet"):
            assert pq.read_table(pa.BufferReader(written[name])).equals(pq.read_table(pa.BufferReader(data)))


@every_service
def test_a_second_run_reads_no_part(score_to: Command, storage: Storage) -> None:
    """One listing, whose ETags are those that were recorded."""
    out = f"{storage.uri}/out"
    score_to(out)
    before = published(storage)
    with storage.requests() as requests:
        result = score_to(out)
    assert result.event("nothing_to_do")["rows"] == 600
    assert not [one for one in requests if one.path.endswith((".parquet", ".arrow"))]
    assert len([one for one in requests if one.query.endswith("prefix=out%2F")]) == 1
    assert published(storage) == before


@every_service
def test_only_what_is_out_of_date_is_scored_again(score_to: Command, storage: Storage, four_files: Path) -> None:
    """A part that was removed, one that was overwritten, rejects that are gone; and an input that has changed."""
    out = f"{storage.uri}/out"
    score_to(out)
    before = published(storage)
    names = sorted(name for name in before if name.endswith(".parquet"))
    (rejects, *_) = sorted(name for name in before if name.endswith(".arrow"))
    storage.bucket.delete(f"out/{names[0]}")
    storage.put(f"out/{names[2]}", b"PAR1 torn PAR1")
    storage.bucket.delete(f"out/{rejects}")
    result = score_to(out)
    assert result.code == 0, result.err
    assert result.event("run_started")["kept"] == len(names) - len({names[0], names[2], part_of(rejects)})
    assert published(storage) == before
    (four_files / "1.parquet").touch()
    assert score_to(out).event("run_started")["to_score"] == {"input changed": 2}


def part_of(rejects: str) -> str:
    """The part of a file of rejects."""
    return rejects.removeprefix("_rejects/").removesuffix(".arrow") + ".parquet"


@every_service
def test_a_run_that_was_killed(score_to: Command, storage: Storage, tmp_path: Path) -> None:
    """Its parts are kept, although no record lists them: the receipt is in the part, and the service has its digest."""
    out = f"{storage.uri}/out"
    score_to(out)
    before = published(storage)
    for name in (MANIFEST, PARTS):
        storage.bucket.delete(f"out/{name}")
    with storage.requests() as requests:
        result = score_to(out)
    assert result.event("run_started")["to_score"] == {}
    ranges = [one.range for one in requests if one.path.endswith(".parquet") and one.method == "GET"]
    assert "" not in ranges, "no part is read as a whole"
    assert published(storage) == before


@every_service
def test_parts_that_were_copied_there(score_to: Command, storage: Storage, tmp_path: Path) -> None:
    """Without digests, which only Scoreline leaves, every page of them is checked."""
    score_to(tmp_path / "local")
    (tmp_path / "local" / "_scoreline" / "lock").unlink()
    storage.upload(tmp_path / "local", "out/")
    assert score_to(f"{storage.uri}/out").event("run_started")["to_score"] == {}
    assert score_to(f"{storage.uri}/out").event("nothing_to_do")["rows"] == 600


@every_service
def test_commands_on_outputs(score_to: Command, scoreline: Command, storage: Storage, tmp_path: Path) -> None:
    """They answer as they do for a folder."""
    outs = [f"{storage.uri}/out", tmp_path / "out"]
    for out in outs:
        score_to(out)
    for words in (["verify", "--json"], ["rejects", "--json"], ["evaluate", "--label", "species", "--json"]):
        remote, local = (scoreline(words[0], out, *words[1:]) for out in outs)
        assert (remote.code, remote.out.replace(str(outs[0]), str(outs[1]))) == (local.code, local.out)
    moved = json.loads(scoreline("diff", *outs, "--json").out)
    assert (moved["rows"], moved["flipped"]) == (598, 0)
    assert scoreline("report", outs[0]).out.strip() == f"{outs[0]}/_scoreline/report.html"
    storage.put("other/a.txt", b"")
    for pattern in (outs[0], f"{storage.uri}/*", f"{storage.uri}/o?t/"):
        runs = json.loads(scoreline("runs", pattern, "--json").out)
        assert [(one["output"].rstrip("/"), one["exit_code"]) for one in runs["runs"]] == [(outs[0], 0)]
    closed(scoreline("runs", f"{storage.uri}/x*"), 66, "no output of scoreline score matches")


@every_service
def test_shards(score_to: Command, scoreline: Command, storage: Storage, tmp_path: Path) -> None:
    """The parts of one run; the first shard makes the plan that all follow."""
    out = f"{storage.uri}/out"
    score_to(tmp_path / "out")
    for shard in ("1/2", "2/2"):
        assert score_to(out, "--shard", shard).code == 0
    finished = scoreline("finish", out)
    assert finished.code == 0, finished.err
    assert published(storage) == parts(tmp_path / "out")
    assert not [one.key for one in storage.bucket.list("out/_scoreline/shards")]
    assert score_to(out).event("nothing_to_do")["rows"] == 600


@every_service
def test_an_object_that_is_replaced_during_the_run(score_to: Command, storage: Storage) -> None:
    """The listing at the end shows it; there is no `_SUCCESS`, and the next run repairs it."""
    out = f"{storage.uri}/out"
    written: list[str] = []

    def overwrite(request: Request) -> None:
        if request.path.endswith("_scoreline/profile.json") and request.method == "PUT" and not written:
            written.append("1-00000.parquet")
            storage.put(f"out/{written[0]}", b"of another program")

    with storage.answering(overwrite):
        result = score_to(out)
    closed(result, 74, "missing or replaced in", "'1-00000.parquet'")
    assert "_SUCCESS" not in published(storage)
    storage.bucket.delete("out/1-00000.parquet")
    assert score_to(out).code == 0


def test_endpoints_in_a_job_file(
    process: Command, storage: Storage, iris: Example, four_files: Path, tmp_path: Path
) -> None:
    """With the secrets in the environment, which takes precedence."""
    job = f"""
        bundle = "{iris.bundle}"
        input = "{four_files}"
        output = "{storage.uri}/out"
        max_rejects = 9
        [storage]
        aws_endpoint_url = "{storage.server.endpoint}"
        aws_region = "us-east-1"
    """
    (tmp_path / "job.toml").write_text(job)
    found = process("score", "--job", tmp_path / "job.toml", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    closed(found, 74, "http://127.0.0.1:9 cannot be reached")
    del os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_REGION"]  # the fixture restores them
    assert process("score", "--job", tmp_path / "job.toml").code == 0
    assert "_SUCCESS" in published(storage)


@every_service
@pytest.mark.parametrize(
    ("data", "out", "refused"),
    [
        ("in/", "in/out", True),
        ("in", "in", True),
        ("in/", "", True),
        ("in/*.parquet", "in/out", False),
        ("in/**", "in/out", True),
        ("in/1.parquet", "in/out", False),
        ("in/", "inside/out", False),
    ],
)
def test_inputs_and_outputs_that_overlap(
    scoreline: Command, iris: Example, four_files: Path, storage: Storage, data: str, out: str, refused: bool
) -> None:
    """Neither is ever read as the other."""
    storage.upload(four_files, "in/")
    result = scoreline(
        "score", "--bundle", iris.bundle, "--input", f"{storage.uri}/{data}", "--output", f"{storage.uri}/{out}",
        "--max-rejects", 9,
    )  # fmt: skip
    if refused:
        closed(result, 73, "overlap")
    else:
        assert result.code == 0, result.err


@every_service
def test_names_that_are_too_long(score_to: Command, storage: Storage) -> None:
    """Services refuse longer keys; that is said before anything is scored."""
    closed(score_to(f"{storage.uri}/{'x' * 1010}"), 2, "a key of 10", "above the limit of 1024")


@every_service
def test_parts_can_be_read_by_arrow(score_to: Command, storage: Storage, tmp_path: Path) -> None:
    """They are Parquet files like any other."""
    score_to(f"{storage.uri}/out")
    storage.bucket.download("out/1-00000.parquet", tmp_path / "1.parquet")
    assert pq.read_table(tmp_path / "1.parquet").num_rows > 0
