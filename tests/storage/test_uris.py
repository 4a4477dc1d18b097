"""URIs of objects."""

from pathlib import Path

import pytest
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.storage.uris import Location, absolute, is_remote, parse_uri


@pytest.mark.parametrize("path", ["s3://b/k", "gs://b", "az://c/a/b.csv"])
def test_uris_of_the_three_services_are_remote(path: str) -> None:
    """All others are paths, or URLs that are refused elsewhere."""
    assert is_remote(path)
    assert absolute(path) == path


@pytest.mark.parametrize("path", ["/a/b", "a", "s3:/b/k", "s3", "http://b/k", "S3://b/k", Path("s3://b/k")])
def test_everything_else_is_not(path: str | Path) -> None:
    """In particular a `Path`, which has only one slash."""
    assert not is_remote(path)


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the working directory."""
    monkeypatch.chdir(tmp_path)
    assert absolute("a") == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("s3://b", Location("s3", "b", "")),
        ("s3://b/", Location("s3", "b", "")),
        ("gs://b/in/", Location("gs", "b", "in/")),
        ("az://c/d=1/x y%20#?.csv", Location("az", "c", "d=1/x y%20#?.csv")),
    ],
)
def test_parts_of_a_uri(uri: str, location: Location) -> None:
    """Nothing is decoded, and nothing is a query or a fragment."""
    assert parse_uri(uri) == location


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///k", "file://b/k", "s3://b//k", "s3://b/a//k", "s3://b/../k", "s3://b/."]
)
def test_invalid_uris_are_refused(uri: str) -> None:
    """Without a bucket, or with a step that services treat in different ways."""
    with pytest.raises(UsageError) as caught:
        parse_uri(uri)
    assert repr(uri) in str(caught.value)
