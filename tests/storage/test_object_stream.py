"""Objects as files that are read from their start."""

import io

import pytest
from scoreline.pipeline.storage import object_stream
from scoreline.pipeline.storage.object_stream import ObjectStream
from scoreline.pipeline.storage.uris import ChangedError, parse_uri

from object_storage import Request, Storage

DATA = bytes(range(256)) * 10


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 100, then 700 bytes."""
    monkeypatch.setattr(object_stream, "FIRST_BYTES", 100)
    monkeypatch.setattr(object_stream, "WINDOW_BYTES", 700)


def opened(storage: Storage, key: str = "a", data: bytes = DATA) -> ObjectStream:
    """The stream of a new object, as a listing would describe it."""
    storage.put(key, data)
    found = storage.bucket.head(key)
    return ObjectStream(parse_uri(f"{storage.uri}/{key}"), size=found.size, etag=found.etag)


@pytest.mark.parametrize("size", [1, 99, 100, 101, 699, 5000])
def test_the_bytes_are_those_of_the_object(storage: Storage, small_windows: None, size: int) -> None:
    """For any size of a read; each byte is requested once."""
    stream = opened(storage)
    with storage.requests() as requests:
        assert b"".join(iter(lambda: stream.read(size), b"")) == DATA
    assert [one.range for one in requests] == ["bytes=0-99", "bytes=100-799", "bytes=800-1499", "bytes=1500-2199",
                                               "bytes=2200-2559"]  # fmt: skip


def test_a_seek_within_the_first_window_takes_no_request(storage: Storage, small_windows: None) -> None:
    """As after looking at the first bytes."""
    stream = opened(storage)
    with storage.requests() as requests:
        assert stream.read(4) == DATA[:4]
        assert stream.seek(0) == 0
        assert stream.read(4) == DATA[:4]
    assert len(requests) == 1


def test_any_position_can_be_read(storage: Storage, small_windows: None) -> None:
    """From the start, from here and from the end."""
    stream = opened(storage)
    stream.seek(1000)
    assert stream.read(3) == DATA[1000:1003]
    stream.seek(-1003, io.SEEK_CUR)
    assert stream.readall() == DATA
    stream.seek(-2, io.SEEK_END)
    assert (stream.tell(), stream.read()) == (len(DATA) - 2, DATA[-2:])


def test_an_empty_object_takes_no_request(storage: Storage) -> None:
    """Its size is known."""
    stream = opened(storage, data=b"")
    with storage.requests() as requests:
        assert stream.read() == b""
    assert requests == []


def test_without_an_etag_the_current_version_is_read(storage: Storage) -> None:
    """Its size and ETag are asked for first."""
    storage.put("a", DATA)
    with storage.requests() as requests:
        assert ObjectStream(parse_uri(f"{storage.uri}/a")).read() == DATA
    assert [one.method for one in requests] == ["HEAD", "GET"]


def test_an_object_that_changes_is_noticed(storage: Storage, small_windows: None) -> None:
    """At the next request, also in the background."""
    stream = opened(storage)

    def change(request: Request) -> None:
        if request.range.startswith("bytes=800-"):
            storage.put("a", DATA[::-1])

    with storage.answering(change), pytest.raises(ChangedError):
        stream.readall()
