"""Objects in a bucket, against a real S3 server on the loopback interface."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from scoreline.pipeline.storage import remote
from scoreline.pipeline.storage.remote import Bucket, bucket_of
from scoreline.pipeline.storage.uris import SERVICES, ChangedError, Location

from object_storage import SECRET, Request, Storage, every_service

KEYS = ["a.csv", "in/a%b.csv", "in/a*[b].csv", "in/d=1/x y.csv", "in/é%20b.csv", "in/ta~b'#?.csv"]


def test_a_listing_says_what_boto3_says(storage: Storage) -> None:
    """Key, size, ETag and time, also of odd keys; a prefix has whole steps."""
    for number, key in enumerate(KEYS):
        storage.put(key, b"x" * number)
    storage.put("inside/x", b"")
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    listed = client.list_objects_v2(Bucket=storage.name)["Contents"]
    expected = {one["Key"]: (one["Size"], one["ETag"].strip('"'), one["LastModified"].timestamp()) for one in listed}
    found = {one.key: (one.size, one.etag, one.modified_ns / 1e9) for one in storage.bucket.list()}
    assert found == expected
    assert sorted(one.key for one in storage.bucket.list("in")) == sorted(KEYS[1:])
    assert all(storage.bucket.head(one.key) == one for one in storage.bucket.list())


@every_service
def test_a_listing_of_several_pages(storage: Storage) -> None:
    """A page has at most a thousand objects."""
    for number in range(1003):
        storage.put(f"{number:04d}", b"")
    with storage.requests() as requests:
        assert len(list(storage.bucket.list())) == 1003
    if storage.uri.startswith("s3:"):  # Azure's pages are larger
        assert len(requests) == 2


@every_service
def test_ranges(storage: Storage) -> None:
    """The same bytes as a slice."""
    data = os.urandom(3000)
    storage.put("a", data)
    etag = storage.bucket.head("a").etag
    assert storage.bucket.read("a") == data
    assert storage.bucket.read("a", etag=etag, start=1000) == data[1000:]
    assert storage.bucket.read("a", start=1000, stop=1001) == data[1000:1001]
    assert storage.bucket.read_end("a", 7, etag=etag) == (data[-7:], storage.bucket.head("a"))
    assert storage.bucket.read_end("a", 5000)[0] == data


@every_service
def test_an_empty_object(storage: Storage) -> None:
    """It has no range."""
    storage.put("a", b"")
    assert storage.bucket.read("a") == b""
    assert storage.bucket.read_end("a", 10) == (b"", storage.bucket.head("a"))


@every_service
def test_a_large_object_is_downloaded_in_pieces(storage: Storage, tmp_path: Path) -> None:
    """In one request."""
    data = os.urandom(3 << 20)
    storage.put("a", data)
    with storage.requests() as requests:
        storage.bucket.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data
    assert len(requests) == 1
    assert len(list(storage.bucket.stream("a"))) > 1


@every_service
def test_an_object_is_created_once_and_replaced_only_as_expected(storage: Storage) -> None:
    """By its ETag."""
    first = storage.bucket.create("a", b"1")
    with pytest.raises(ChangedError, match="exists already"):
        storage.bucket.create("a", b"2")
    second = storage.bucket.replace("a", b"3", etag=first)
    with pytest.raises(ChangedError, match="has changed"):
        storage.bucket.replace("a", b"4", etag=first)
    assert (storage.bucket.read("a"), storage.bucket.head("a").etag) == (b"3", second)
    storage.bucket.delete("a")
    storage.bucket.delete("a")
    assert list(storage.bucket.list()) == []


@every_service
def test_a_large_file_is_written_in_parts(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its ETag is that of the whole."""
    monkeypatch.setattr(remote, "MULTIPART_BYTES", 1 << 20)
    (tmp_path / "a").write_bytes(os.urandom(9 << 20))
    etag = storage.bucket.write("a", tmp_path / "a")
    assert storage.bucket.head("a").etag == etag
    assert storage.bucket.read("a") == (tmp_path / "a").read_bytes()
    if storage.uri.startswith("s3:"):
        assert etag.endswith("-2")


@every_service
def test_another_version_is_not_read(storage: Storage) -> None:
    """Also if it has the same size."""
    storage.put("a", b"1")
    etag = storage.bucket.head("a").etag
    storage.put("a", b"2")
    for call in (storage.bucket.read, lambda key, etag: storage.bucket.read_end(key, 1, etag=etag)):
        with pytest.raises(ChangedError, match="has changed"):
            call("a", etag=etag)


def test_services_that_compare_etags_without_quotes(storage: Storage) -> None:
    """As Ceph 16 does: the object is asked for again, and from then on without them."""
    storage.put("a", b"1")
    etag = storage.bucket.head("a").etag
    refused = [("412 Precondition Failed", [("Content-Length", "0")], b"")]

    def refuse_once(request: Request) -> "tuple[str, list[tuple[str, str]], bytes] | None":
        return refused.pop() if request.method == "GET" and refused else None

    with storage.answering(refuse_once), storage.requests() as requests:
        assert storage.bucket.read("a", etag=etag) == b"1"
        assert storage.bucket.read("a", etag=etag) == b"1"
    assert [one.method for one in requests] == ["GET", "HEAD", "GET", "GET"]


def test_services_that_compare_etags_without_quotes_at_once(storage: Storage) -> None:
    """Several requests are refused before one has shown how the service compares."""
    storage.put("a", b"1")
    etag, together = storage.bucket.head("a").etag, Barrier(4)
    refused = [("412 Precondition Failed", [("Content-Length", "0")], b"")] * 4

    def refuse_first(request: Request) -> "tuple[str, list[tuple[str, str]], bytes] | None":
        answer = refused.pop() if request.method == "GET" and refused else None
        if answer is not None:
            together.wait()
        return answer

    with storage.answering(refuse_first), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: storage.bucket.read("a", etag=etag), range(4))) == [b"1"] * 4


@every_service
def test_an_answer_that_breaks_off_is_continued(storage: Storage) -> None:
    """By the library, from where it broke off."""
    data = os.urandom(1000)
    storage.put("a", data)
    etag = storage.bucket.head("a").etag
    headers = [("Content-Length", "1000"), ("ETag", f'"{etag}"'), ("Last-Modified", "Fri, 27 Nov 2026 12:00:00 GMT")]
    broken = [("200 OK", headers, data[:300])]

    def break_once(request: Request) -> "tuple[str, list[tuple[str, str]], bytes] | None":
        return broken.pop() if broken else None

    with storage.answering(break_once):
        assert storage.bucket.read("a", etag=etag) == data


@every_service
@pytest.mark.parametrize("key", ["a", "d/a"])
def test_missing_objects_and_buckets(storage: Storage, key: str) -> None:
    """FileNotFoundError, as for files, with the URI."""
    no_bucket = Bucket(storage.service.scheme, "no-such-bucket")
    for bucket in (storage.bucket, no_bucket):
        for call in (bucket.head, bucket.read, lambda key, bucket=bucket: bucket.read_end(key, 1)):
            with pytest.raises(FileNotFoundError, match="no such") as caught:
                call(key)
            assert caught.value.filename == f"{bucket.uri}/{key}"
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        list(no_bucket.list("d"))


@every_service
@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "ExpiredToken", "AuthenticationFailed"])
@pytest.mark.parametrize("status", ["403 Forbidden", "400 Bad Request"])
def test_refusals_show_the_reason_and_no_secret(storage: Storage, code: str, status: str) -> None:
    """Answers repeat the request, with its key id and signature."""
    body = (
        f"<Error><Code>{code}</Code><Message>Not now</Message><AWSAccessKeyId>a-key-id</AWSAccessKeyId>"
        f"<StringToSign>{SECRET}</StringToSign></Error>"
    ).encode()
    answer = status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))], body
    with storage.answering(lambda _: answer):
        for call in (lambda: list(storage.bucket.list("in")), lambda: storage.bucket.read("a")):
            with pytest.raises(PermissionError, match=rf"do not permit it \({code}: Not now\)") as caught:
                call()
            assert not {"a-key-id", SECRET, "?", "http"} & set(str(caught.value).split())
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", SERVICES)
def test_without_credentials_nothing_is_asked(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the service nor the metadata address."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr("socket.create_connection", None)
    with pytest.raises(PermissionError, match="there are no credentials") as caught:
        bucket_of(Location(scheme, "b", ""))
    assert SERVICES[scheme].credentials[0] in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "variables"),
    [
        ("az", {"AZURE_STORAGE_ACCOUNT_KEY": SECRET}),
        ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "/missing.json"}),
        ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": SECRET}),
        ("s3", {"AWS_SKIP_SIGNATURE": "perhaps"}),
    ],
)
def test_variables_that_are_inconsistent(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, scheme: str, variables: dict[str, str]
) -> None:
    """The reason is that of the library, without their values."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match="cannot be set up") as caught:
        Bucket(scheme, "bucket")
    assert caught.value.filename == f"{scheme}://bucket"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9", "https://user:pass@127.0.0.1:9/x?sig=1", "http://[", "no-url"]
)
def test_an_endpoint_that_does_not_answer(storage: Storage, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """It is named at once, without what may be secret."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(OSError, match="cannot be reached") as caught:
        Bucket("s3", "b")
    assert not any(secret in str(caught.value) for secret in ("pass", "sig"))
