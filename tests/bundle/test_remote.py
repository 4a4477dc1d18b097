"""Bundles in object storage."""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.bundle.bundle import Bundle, open_bundle
from scoreline.pipeline.errors import BundleError

from conftest import Example, Result
from object_storage import Request, Storage


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_bundle_is_downloaded_while_it_is_used(storage: Storage, iris: Example, temporary: Path) -> None:
    """One listing, one request for each file; other objects are left alone."""
    uri = storage.upload(iris.bundle, "models/iris/")
    storage.put("models/iris/other/big.bin", b"x")
    storage.put("models/iris/notes.txt", b"x")
    local = open_bundle(iris.bundle)
    with storage.requests() as requests:
        opened = open_bundle(uri)
    assert len(requests) == 1 + 1 + len(local.manifest.files)
    assert (opened.digest, opened.manifest, opened.name) == (local.digest, local.manifest, uri.removesuffix("/"))
    assert all(opened.read(name) == local.read(name) for name in local.manifest.files)
    assert open_bundle(opened.path).digest == local.digest
    (folder,) = temporary.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    del opened
    gc.collect()
    assert list(temporary.iterdir()) == []


def read_all(bundle: Bundle) -> None:
    """Read every file, as loading does."""
    for name in bundle.manifest.files:
        bundle.read(name)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("no bundle", "bundle 's3://{name}/models/iris' does not exist"),
        ("no manifest", "is not a bundle: it has no bundle.json"),
        ("no file", "s3://{name}/models/iris/graph.json is missing"),
        ("no bucket", "bundle 's3://no-such-bucket/models/iris' cannot be read: .*no such bucket"),
        ("other content", "s3://{name}/models/iris/graph.json is not the file that the bundle was saved with"),
        ("not json", "s3://{name}/models/iris/bundle.json is not JSON"),
    ],
)
def test_bundles_that_are_refused(storage: Storage, iris: Example, temporary: Path, harm: str, says: str) -> None:
    """With the URI, and nothing is left behind."""
    uri = f"{storage.uri}/models/iris"
    if harm != "no bundle":
        storage.upload(iris.bundle, "models/iris/")
    match harm:
        case "no manifest":
            storage.bucket.delete("models/iris/bundle.json")
        case "no file":
            storage.bucket.delete("models/iris/graph.json")
        case "no bucket":
            uri = "s3://no-such-bucket/models/iris"
        case "other content":
            storage.put("models/iris/graph.json", b"{}")
        case "not json":
            storage.put("models/iris/bundle.json", b"{")
    with pytest.raises(BundleError, match=says.format(name=storage.name)):
        read_all(open_bundle(uri))
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_a_bundle_that_changes_while_it_is_downloaded(storage: Storage, iris: Example, temporary: Path) -> None:
    """Another version of a file is not taken."""
    uri = storage.upload(iris.bundle, "models/iris/")

    def change(request: Request) -> None:
        if request.path.endswith("graph.json"):
            storage.put("models/iris/graph.json", b"{}")

    with storage.answering(change), pytest.raises(BundleError, match=r"graph\.json: the object has changed"):
        open_bundle(uri)
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_after_an_error(
    storage: Storage, process: Callable[..., Result], iris: Example, temporary: Path, tmp_path: Path
) -> None:
    """The process ends while the bundle is in use."""
    uri = storage.upload(iris.bundle, "models/iris/")
    words = ["--bundle", uri, "--input", f"{storage.uri}/none/", "--output", tmp_path / "out"]
    with storage.requests() as requests:
        assert process("score", *words, TMPDIR=str(temporary)).code == 66
    assert any(request.path.endswith("weights.safetensors") for request in requests)
    assert list(temporary.iterdir()) == []
