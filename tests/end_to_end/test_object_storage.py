"""Inputs and bundles in object storage: the same predictions as from local files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from scoreline.pipeline.errors import StorageError
from scoreline.pipeline.monitoring.history import read_history
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import read_manifest
from scoreline.pipeline.outputs.receipt import read_receipt
from scoreline.pipeline.storage import access
from scoreline.pipeline.storage.remote import require_service
from scoreline.schemas.run import Receipt

from conftest import Example, Result
from object_storage import RESET, SECRET, Request, Storage

Score = Callable[..., Result]


def contents(out: Path) -> dict[str, bytes]:
    """The bytes of every part, without its footer, which says where the input is, and of every rejects file."""
    found = {}
    for path in sorted(out.rglob("*")):
        name, data = path.relative_to(out).as_posix(), path.read_bytes() if path.is_file() else b""
        if name.endswith(".parquet"):
            found[name] = data[: -8 - int.from_bytes(data[-8:-4], "little")]
        elif name.endswith(".arrow"):
            found[name] = data
    assert found
    return found


@pytest.fixture
def compared(scoreline: Score, iris: Example, storage: Storage, tmp_path: Path) -> Callable[..., Result]:
    """Score a folder and its copy in a bucket, and compare what is written. Returns the result of the latter."""

    def call(folder: Path, *words: object, below: str = "") -> Result:
        outs = [tmp_path / "local", tmp_path / "out"]
        inputs = [f"{folder}/{below}", storage.upload(folder, "in/") + below]
        words = ("--max-rejects", 9, "--log-format", "json", *words)
        results = [
            scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", out, *words)
            for data, out in zip(inputs, outs, strict=True)
        ]
        assert [one.code for one in results] == [0, 0], results[1].err
        assert contents(outs[1]) == contents(outs[0])
        return results[1]

    return call


def test_parquet(compared: Score, storage: Storage, scoreline: Score, four_files: Path, tmp_path: Path) -> None:
    """Several splits and rejects. `verify` compares the keys with the objects."""
    compared(four_files, "--split-rows", 50)
    verified = scoreline("verify", tmp_path / "out", "--json")
    assert json.loads(verified.out)["keys_compared"] == 4
    for part in (tmp_path / "out").glob("1*.parquet"):
        receipt = read_receipt(part)
        assert isinstance(receipt, Receipt)
        assert receipt.fingerprint.etag == storage.bucket.head("in/1.parquet").etag
        assert receipt.root == f"{storage.uri}/in"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv(compared: Score, iris: Example, tmp_path: Path, suffix: str) -> None:
    """Also compressed."""
    (tmp_path / "data").mkdir()
    iris.frame.to_csv(tmp_path / "data" / f"a{suffix}", index=False)
    compared(tmp_path / "data")


def test_globs_and_hive_keys(compared: Score, iris: Example, tmp_path: Path) -> None:
    """The output mirrors the folders below the first wildcard."""
    for day in ("day=1", "day=2"):
        (tmp_path / "data" / day).mkdir(parents=True)
        iris.frame.to_parquet(tmp_path / "data" / day / "x-1.parquet", index=False)
        iris.frame.to_parquet(tmp_path / "data" / day / "y-1.parquet", index=False)
    compared(tmp_path / "data", below="day=*/x-*.parquet")
    assert sorted(contents(tmp_path / "out")) == ["day=1/x-1.parquet", "day=2/x-1.parquet"]


def test_shards(
    compared: Score, storage: Storage, scoreline: Score, iris: Example, four_files: Path, tmp_path: Path
) -> None:
    """Follow one plan of the objects."""
    compared(four_files)
    words = [
        "--bundle",
        iris.bundle,
        "--input",
        f"{storage.uri}/in/",
        "--output",
        tmp_path / "sharded",
        "--max-rejects",
        9,
    ]
    codes = [scoreline("score", *words, "--shard", f"{number}/2").code for number in (1, 2)]
    assert [*codes, scoreline("finish", tmp_path / "sharded").code] == [0, 0, 0]
    assert contents(tmp_path / "sharded") == contents(tmp_path / "out")


def test_bundle_and_input(storage: Storage, scoreline: Score, iris: Example, four_files: Path, tmp_path: Path) -> None:
    """By URI; run.json names both. A second run resumes, and scores again only the object that has changed."""
    data, bundle = storage.upload(four_files, "in/"), storage.upload(iris.bundle, "models/iris/")
    words = [
        "--bundle",
        bundle,
        "--input",
        data,
        "--output",
        tmp_path / "out",
        "--max-rejects",
        9,
        "--log-format",
        "json",
    ]
    assert scoreline("score", *words).code == 0
    recorded = read_manifest(FolderStore(str(tmp_path / "out")))
    assert (recorded.bundle.path, recorded.input, recorded.root) == (bundle[:-1], data, data[:-1])
    assert read_history(str(tmp_path / "out")).entries[0].bundle == bundle[:-1]
    assert scoreline("score", *words).event("nothing_to_do")["partitions"] == 4
    storage.put("in/2.parquet", (four_files / "3.parquet").read_bytes())
    assert scoreline("score", *words).code == 0
    assert read_manifest(FolderStore(str(tmp_path / "out"))).parts_kept == 3


def test_check(storage: Storage, scoreline: Score, iris: Example, four_files: Path) -> None:
    """Previews the rows of an object with a bundle in the same bucket."""
    data, bundle = storage.upload(four_files, "in/"), storage.upload(iris.bundle, "models/iris/")
    result = scoreline("check", "--bundle", bundle, "--input", data, "--json")
    assert result.code == 0, result.err
    local = scoreline("check", "--bundle", iris.bundle, "--input", four_files, "--json")
    assert json.loads(result.out)["rows"] == json.loads(local.out)["rows"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels(storage: Storage, score: Score, scoreline: Score, iris: Example, tmp_path: Path, suffix: str) -> None:
    """From an object, as from a file."""
    iris.frame.drop(columns="truth").to_parquet(tmp_path / "in.parquet")
    assert score(tmp_path / "in.parquet").code == 0
    getattr(iris.frame, f"to_{suffix}")(tmp_path / f"labels.{suffix}", index=False)
    storage.put(f"labels.{suffix}", (tmp_path / f"labels.{suffix}").read_bytes())
    words = ["evaluate", tmp_path / "out", "--label", "truth", "--on", "row_id", "--json", "--labels"]
    local, remote = (scoreline(*words, f"{root}/labels.{suffix}") for root in (tmp_path, storage.uri))
    assert (local.code, remote.code, remote.out) == (0, 0, local.out)
    missing = scoreline(*words, f"{storage.uri}/missing.{suffix}")
    assert missing.code == 66
    assert f"{storage.uri}/missing.{suffix}" in missing.err


@pytest.mark.parametrize("harm", ["changed", "removed", "truncated"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_object_that_does_not_stay(
    storage: Storage, scoreline: Score, iris: Example, tmp_path: Path, harm: str, suffix: str
) -> None:
    """It fails alone; the other is scored."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "ab":
        frame = pd.concat([iris.frame] * 100)
        getattr(frame, f"to_{suffix}")(folder / f"{name}.{suffix}", index=False)
    data = storage.upload(folder, "in/")
    key, content = f"in/a.{suffix}", (folder / f"a.{suffix}").read_bytes()
    seen: list[str] = []

    def hook(request: Request) -> None:
        if request.method == "GET" and request.path.endswith(f"a.{suffix}"):
            seen.append(request.range)
            if len(seen) == 2:  # the first is that of the plan
                if harm == "removed":
                    storage.bucket.delete(key)
                else:
                    storage.put(key, content[:-9] if harm == "truncated" else content[::-1])

    words = ["--bundle", iris.bundle, "--input", data, "--output", tmp_path / "out", "--log-format", "json"]
    with storage.answering(hook):
        result = scoreline("score", *words)
    assert result.code == 65
    assert result.message.startswith(f"a.{suffix}: ")
    says = "no such object" if harm == "removed" else "changed while it was read"
    assert says in result.message
    assert list(contents(tmp_path / "out")) == [f"b.{suffix}.parquet" if suffix == "csv" else "b.parquet"]


@pytest.mark.parametrize(
    ("option", "uri", "code", "says"),
    [
        ("--input", "s3://no-such-bucket/in/", 66, "no such bucket"),
        ("--input", "{uri}/none/", 66, "under '{uri}/none/'"),
        ("--input", "{uri}/none.csv", 66, "under '{uri}/none.csv'"),
        ("--input", "{uri}/none/*.csv", 66, "no file matches"),
        ("--input", "s3://", 2, "not a URI"),
        ("--input", "{uri}/a//b", 2, "empty step"),
        ("--input", "http://host/a.csv", 2, "is a URL"),
        ("--bundle", "s3://no-such-bucket/in/", 78, "no such bucket"),
        ("--bundle", "{uri}/none", 78, "does not exist"),
        ("--bundle", "s3:///none", 2, "not a URI"),
        ("--output", "s3://no-such-bucket/out", 73, "no such bucket"),
        ("--output", "{uri}/a//b", 2, "empty step"),
        ("--output", "http://host/out", 2, "is a URL"),
    ],
)
def test_wrong_uris(
    storage: Storage, scoreline: Score, iris: Example, iris_file: Path, tmp_path: Path,
    option: str, uri: str, code: int, says: str,
) -> None:  # fmt: skip
    """One line with the URI, and the exit code of what cannot be read."""
    given = {"--bundle": iris.bundle, "--input": iris_file, "--output": tmp_path / "out"}
    given[option] = uri.format(uri=storage.uri)
    result = scoreline("score", *[word for pair in given.items() for word in pair])
    assert result.code == code, result.err
    assert says.format(uri=storage.uri) in result.err
    assert given[option].removesuffix("/").removesuffix("/none") in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["--input", "--bundle", "--output"])
@pytest.mark.parametrize("harm", ["credentials", "endpoint", "permission"])
def test_a_service_that_cannot_be_used(
    storage: Storage, scoreline: Score, iris: Example, iris_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, option: str, harm: str,
) -> None:  # fmt: skip
    """Said at once, in one line, without secrets."""
    given = {"--bundle": iris.bundle, "--input": iris_file, "--output": tmp_path / "out"}
    given[option] = f"{storage.uri}/x/"
    if harm == "credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    elif harm == "endpoint":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    refusal = ("403 Forbidden", [("Content-Length", str(len(body)))], body)
    with storage.answering(lambda _: refusal if harm == "permission" else None), storage.requests() as requests:
        result = scoreline("score", *[word for pair in given.items() for word in pair])
    output = 74 if harm == "endpoint" else 73
    assert result.code == {"--input": 66, "--bundle": 78, "--output": output}[option], result.err
    says = {"credentials": "there are no credentials for S3: set AWS_ACCESS_KEY_ID", "endpoint": "cannot be reached",
            "permission": "do not permit it (AccessDenied: Access Denied)"}[harm]  # fmt: skip
    assert says in result.err
    assert SECRET not in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert len(requests) == (harm == "permission")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are tried again for a fraction of a second."""
    for retries in (access.RETRIES, access.FEW_RETRIES):
        monkeypatch.setitem(retries, "retry_timeout", timedelta(seconds=0.3))  # type: ignore[misc]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("suffix", "gone"), [(".parquet", "while planning"), (".csv", "while scoring")])
def test_a_service_that_is_gone_ends_the_run(
    storage: Storage, score: Score, iris: Example, tmp_path: Path, suffix: str, gone: str
) -> None:
    """Instead of every input failing alone, after as long as requests are tried. The next run completes it."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    frame, count = iris.frame.head(5), 40
    write = frame.to_parquet if suffix == ".parquet" else frame.to_csv
    for number in range(count):
        write(folder / f"{number:02d}{suffix}", index=False)
    data = storage.upload(folder, "in/")

    def is_gone(request: Request) -> bool:
        return f"/in/{count // 2}" in request.path if gone == "while planning" else any(out.glob("*.parquet"))

    with storage.answering(reset_from(is_gone)):
        result = score(data)
    assert result.code == 74, result.err
    assert f"{storage.uri} does not answer any more: " in result.err
    parts = len(list(out.glob("*.parquet")))
    assert parts < count
    assert (parts > 0) == (gone == "while scoring")
    assert score(data).code == 0
    assert len(list(out.glob("*.parquet"))) == count


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("where", ["output", "input"])
def test_a_service_that_is_gone_ends_verify(
    storage: Storage, scoreline: Score, iris: Example, four_files: Path, where: str
) -> None:
    """Instead of a verdict on parts and inputs that were not read."""
    data, out = storage.upload(four_files, "in/"), f"{storage.uri}/out"
    scored = scoreline("score", "--bundle", iris.bundle, "--input", data, "--output", out, "--max-rejects", 9)
    assert scored.code == 0, scored.err
    assert scoreline("verify", out).code == 0
    first = "/in/" if where == "input" else "/out/0.parquet"
    with storage.answering(reset_from(lambda request: first in request.path)):
        result = scoreline("verify", out)
    assert result.code == 74, result.out
    assert f"{storage.uri} does not answer any more: " in result.err


def reset_from(begins: Callable[[Request], bool]) -> Callable[[Request], object]:
    """A hook that resets every connection from some request on."""
    begun: list[Request] = []

    def hook(request: Request) -> object:
        if begun or begins(request):
            begun.append(request)
            return RESET
        return None

    return hook


@pytest.mark.parametrize("status", ["400 Bad Request", "301 Moved Permanently", "405 Method Not Allowed"])
def test_any_answer_shows_that_the_service_is_there(storage: Storage, status: str) -> None:
    """Also one that is no use."""
    with storage.answering(lambda _: (status, [("Content-Length", "0")], b"")), storage.requests() as requests:
        require_service(f"{storage.uri}/a")
    assert len(requests) == 1


def test_an_endpoint_that_accepts_no_connections(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a service that is gone."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"does not answer any more: the endpoint http://127.0.0.1:9 cannot be reac"):
        require_service(f"{storage.uri}/a")


def test_an_overloaded_service_is_waited_for(storage: Storage) -> None:
    """As long as is said."""
    until = time.monotonic() + 6
    answer = ("503 Slow Down", [("Content-Length", "0")], b"")
    with storage.answering(lambda _: answer if time.monotonic() < until else None):
        require_service(f"{storage.uri}/a")
    assert time.monotonic() > until


@pytest.mark.usefixtures("impatient")
def test_an_input_that_is_damaged_says_nothing_about_the_service(
    storage: Storage, score: Score, iris: Example, tmp_path: Path
) -> None:
    """So nothing is asked: it fails alone."""
    iris.frame.to_parquet(tmp_path / "0.parquet", index=False)
    (tmp_path / "1.parquet").write_bytes(b"PAR1 not Parquet PAR1")
    with storage.requests() as requests:
        result = score(storage.upload(tmp_path, "in/"))
    assert result.code == 65, result.err
    assert "1.parquet: cannot be read as Parquet" in result.err
    assert not [one for one in requests if one.path.endswith("_scoreline/answer")]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down", "404 Not Found"])
def test_an_object_that_the_service_cannot_read_fails_alone(
    storage: Storage, score: Score, iris: Example, tmp_path: Path, status: str
) -> None:
    """The service answers other requests."""
    for number in range(3):
        iris.frame.to_parquet(tmp_path / f"{number}.parquet", index=False)
    data = storage.upload(tmp_path, "in/")
    answer = (status, [("Content-Length", "0")], b"")
    with storage.answering(lambda request: answer if request.path.endswith("1.parquet") else None):
        result = score(data)
    assert result.code == 65, result.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == ["0.parquet", "2.parquet"]
