"""Any change of run.json is reported by `verify` and repaired by the next run."""

import fcntl
import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.evaluation.verify import verify
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest, read_record, write_manifest
from scoreline.pipeline.outputs.part_records import OutputRecord

from conftest import Example, Result
from outcomes import recorded

Command = Callable[..., Result]
#: Numbers of reruns over a flipped bit, in the short and in the long test.
RERUNS, LONG_RERUNS = 12, 400


@pytest.fixture
def score(scoreline: Command, iris: Example, tmp_path: Path) -> Command:
    """A small output of two parts, one with a reject."""
    frame = iris.frame.copy()
    frame.loc[17, iris.features[0]] = np.nan
    frame.to_parquet(tmp_path / "in.parquet", index=False)

    def call(*words: object) -> Result:
        named = ["--bundle", iris.bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
        return scoreline("score", *named, "--max-rejects", "9", "--split-rows", "100", *words)

    return call


@pytest.fixture
def run_json(score: Command, tmp_path: Path) -> Path:
    """The run.json of a complete output."""
    assert score().code == 0
    return tmp_path / "out" / "_scoreline" / "run.json"


def is_whole(run_json: Path) -> bool:
    """Whether the checksum in the last line but one matches the bytes before it, and the counts match the rows that
    pyarrow finds."""
    data = run_json.read_bytes()
    covered, sealed = re.fullmatch(rb'(.*\n) "checksum": "sha256:([0-9a-f]{64})"\n}\n', data, re.DOTALL).groups()
    rows = sum(pq.ParquetFile(part).metadata.num_rows for part in run_json.parent.parent.glob("*.parquet"))
    fields = json.loads(data)
    return bool(
        hashlib.sha256(covered).hexdigest() == sealed.decode()
        and (fields["rows_in"], fields["rows_scored"], fields["rows_rejected"]) == (rows + 1, rows, 1)
    )


def is_believed(run_json: Path) -> bool:
    """Whether `verify` accepts the file."""
    try:
        return not verify(str(run_json.parent.parent)).problems
    except DataError as error:
        return "run.json is damaged: its checksum" not in str(error)


def flipped(data: bytes, bit: int) -> bytes:
    """The data with one bit flipped."""
    return data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :]


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.long)])
def test_every_flipped_bit_is_detected(run_json: Path, step: int) -> None:
    """Including those in whitespace and the last digits of floats; the short test flips every 61st."""
    data = run_json.read_bytes()
    assert is_whole(run_json)
    assert is_believed(run_json)
    unseen = []
    for bit in range(0, 8 * len(data), step):
        run_json.write_bytes(flipped(data, bit))
        if is_believed(run_json):
            unseen.append(bit)
    assert not unseen


@pytest.mark.parametrize("reruns", [RERUNS, pytest.param(LONG_RERUNS, marks=pytest.mark.long)])
def test_the_next_run_repairs_it(run_json: Path, score: Command, scoreline: Command, reruns: int) -> None:
    """Also when there is nothing else to do; no part is changed, and no digest in it is used."""
    out, draw = run_json.parent.parent, random.Random(reruns)
    parts = {part: part.stat().st_mtime_ns for part in out.glob("*.parquet")}
    for _ in range(reruns):
        data = run_json.read_bytes()
        run_json.write_bytes(flipped(data, draw.randrange(8 * len(data))))
        again = score()
        assert again.code == 0, again.err
        assert "run.json is damaged" in again.event("manifest_unreadable")["reason"]
        assert is_whole(run_json)
        assert scoreline("verify", out).code == 0
    assert {part: part.stat().st_mtime_ns for part in out.glob("*.parquet")} == parts
    assert "nothing_to_do" in score().err


@pytest.mark.parametrize("harm", ["flipped", "gone", "earlier"])
def test_a_record_of_parts_that_does_not_belong_to_it(
    run_json: Path, score: Command, scoreline: Command, harm: str
) -> None:
    """Is reported, and none of its digests is used; the next run rewrites both files."""
    path, data = run_json.with_name("parts.pq"), run_json.with_name("parts.pq").read_bytes()
    if harm == "earlier":
        assert score("--force").code == 0
        (run_json.parent.parent / "in-00000.parquet").unlink()
        assert score().code == 0
    path.write_bytes(flipped(data, 4000) if harm == "flipped" else data)
    if harm == "gone":
        path.unlink()
    assert "parts.pq" in (found := scoreline("verify", run_json.parent.parent)).message
    assert found.code == 65
    assert "parts.pq" in score().event("manifest_unreadable")["reason"]
    assert scoreline("verify", run_json.parent.parent).code == 0
    assert "nothing_to_do" in score().err


HARM: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-30],
    "empty": lambda _: b"",
    "deep": lambda _: b"[" * 100_000,
    "deep, with a seal": lambda _: (
        (body := b"[" * 100_000 + b"\n")
        + b' "checksum": "sha256:'
        + hashlib.sha256(body).hexdigest().encode()
        + b'"\n}\n'
    ),
    "not UTF-8": lambda data: data.replace(b'"success"', b'"\xff\xfe"'),
    "a huge number": lambda data: data.replace(b'"rows_in": 1', b'"rows_in": ' + b"1" * 5000, 1),
    "written by hand": lambda data: json.dumps(json.loads(data)).encode(),
    "doubled": lambda data: data + data,
}


@pytest.mark.parametrize("harm", HARM)
def test_a_manifest_that_no_run_wrote(run_json: Path, score: Command, scoreline: Command, harm: str) -> None:
    """Every command that reads it prints one line with the name of the file, and a rerun repairs it."""
    out = run_json.parent.parent
    run_json.write_bytes(HARM[harm](run_json.read_bytes()))
    for words in (["verify", out], ["evaluate", out, "--label", "truth"], ["importance", out]):
        result = scoreline(*words)
        assert (result.code, "Traceback" in result.err) == (65, False)
        assert "run.json" in result.message
    assert score().code == 0
    assert is_whole(run_json)
    assert scoreline("verify", out).code == 0


@pytest.mark.parametrize("kind", ["fifo", "folder", "gone"])
def test_a_manifest_that_is_not_a_file(run_json: Path, score: Command, scoreline: Command, kind: str) -> None:
    """No command blocks on a FIFO, and the message says what to do."""
    out = run_json.parent.parent
    run_json.unlink()
    if kind == "fifo":
        os.mkfifo(run_json)
    elif kind == "folder":
        run_json.mkdir()
    result = scoreline("verify", out)
    assert (result.code, "Traceback" in result.err) == (65, False)
    assert "run.json" in result.message
    again = score()
    assert "Traceback" not in again.err
    assert again.code == (0 if kind == "gone" else 73), again.err


def test_a_lock_with_invalid_content(run_json: Path, score: Command) -> None:
    """The output is still locked, by an unknown run."""
    path = run_json.with_name("lock")
    path.write_bytes(b"[" * 100_000)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = score("--force")
    assert (result.code, "Traceback" in result.err) == (75, False)
    assert "is locked by another run" in result.message


def test_a_digest_is_valid_only_for_the_part_it_was_recorded_for(
    run_json: Path, score: Command, scoreline: Command, tmp_path: Path
) -> None:
    """A run that is killed can leave its parts with the run.json of an earlier run."""
    out = run_json.parent.parent
    shutil.copy(run_json, tmp_path / "earlier")
    assert score("--prefix", "p_").code == 0
    shutil.copy(tmp_path / "earlier", run_json)
    assert scoreline("verify", out).code == 65
    assert score("--prefix", "p_").code == 0
    assert scoreline("verify", out).code == 0
    assert "nothing_to_do" in score("--prefix", "p_").err


def test_parts_to_be_replaced_are_removed_from_the_manifest_first(
    run_json: Path, score: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first is replaced: a model that draws random numbers could give other bytes with an equal receipt."""
    from scoreline.pipeline.running import publisher

    out = run_json.parent.parent
    before = recorded(out)
    (run_json.parent.parent / "in-00001.parquet").unlink()
    seen = []
    real = publisher.Publisher._publish

    def publish_and_check(self: publisher.Publisher, finished: publisher.Finished) -> None:
        seen.append((json.loads(run_json.read_text())["status"], recorded(out)))
        real(self, finished)

    monkeypatch.setattr(publisher.Publisher, "_publish", publish_and_check)
    assert score().code == 0
    ((status, during),) = seen
    assert status == "running"
    assert [part | {"kept": False} for part in during] == before[:1]


def test_a_task_of_another_version_is_refused(run_json: Path, scoreline: Command) -> None:
    """That only a later version knows, in a file whose checksum is right."""
    body = run_json.read_bytes().partition(b' "checksum"')[0]
    body = body.replace(b'"task": "multiclass"', b'"task": "ranking"')
    run_json.write_bytes(body + b' "checksum": "sha256:' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n')
    result = scoreline("evaluate", run_json.parent.parent, "--label", "truth")
    message = "the task 'ranking', which is not one of binary, multiclass"
    assert (result.code, message in result.message) == (65, True), result.err


def test_a_format_of_another_version_is_refused(run_json: Path, scoreline: Command) -> None:
    """That only a later version knows, in files whose digests are right."""
    store = FolderStore(run_json.parent.parent)
    manifest = read_manifest(store)
    (one,) = read_record(store, manifest).partitions
    write_manifest(store, manifest, OutputRecord(partitions=[replace(one, format="orc")]))
    for words in (["evaluate", "--label", "truth"], ["verify"]):
        result = scoreline(words[0], store.root, *words[1:])
        assert (result.code, "the format 'orc', which is not one of parquet, csv" in result.err) == (65, True)
