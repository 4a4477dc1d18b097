"""Images that are objects: the same predictions as from files, and rejects with reasons."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from image_models import PHOTOS, PREPARED, Cnn, Saved, Score, write_files
from object_storage import Storage
from scoreline import Image, Multiclass, save_bundle


def test_images_beside_their_table_and_elsewhere(
    score: Score, saved: dict[str, Saved], storage: Storage, tmp_path: Path
) -> None:
    """A relative name is below the prefix of the table, also upwards; a URI names any object."""
    names = write_files(tmp_path / "in" / "photos", PHOTOS[:9])
    pq.write_table(pa.table({"photo": [f"photos/{name}" for name in names]}), tmp_path / "in" / "a.parquet")
    assert score(saved["rgb"].bundle).code == 0
    storage.upload(tmp_path / "in" / "photos", "data/photos/")
    storage.upload(tmp_path / "in" / "photos", "elsewhere/photos/")
    kinds = ["photos/{}", "./photos/{}", "../elsewhere/photos/{}", storage.uri + "/elsewhere/photos/{}"]
    cells = [kinds[number % 4].format(name) for number, name in enumerate(names)]
    pq.write_table(pa.table({"photo": cells}), tmp_path / "b.parquet")
    storage.put("data/a.parquet", (tmp_path / "b.parquet").read_bytes())
    remote = score(saved["rgb"].bundle, source=f"{storage.uri}/data/", output="remote")  # type: ignore[arg-type]
    assert remote.code == 0, remote.err
    one, other = (pq.read_table(tmp_path / out / "a.parquet") for out in ("out", "remote"))
    assert one.equals(other)


def test_objects_that_cannot_be_read(score: Score, saved: dict[str, Saved], storage: Storage, tmp_path: Path) -> None:
    """Each rejects its row, with the reason."""
    cells = {
        f"{storage.uri}/none.png": "no such object",
        "s3://no-such-bucket-at-all/none.png": "no such object",
        f"{storage.uri}/a//b.png": "cannot be read: ",
        "http://host/a.png": "cannot be read: only local paths and s3://, gs:// and az:// URIs are supported",
        f"{storage.uri}/text.png": "is not a JPEG or PNG",
    }
    storage.put("text.png", b"no image at all")
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"photo": list(cells)}), tmp_path / "in" / "a.parquet")
    assert score(saved["rgb"].bundle, "--max-rejects", "100%").code == 0
    with pa.ipc.open_file(str(tmp_path / "out" / "_rejects" / "a.arrow")) as reader:
        reasons = [one["reason"] for one in reader.read_all().column("reject").to_pylist()]
    assert len(reasons) == len(cells)
    for reason, expected in zip(reasons, cells.values(), strict=True):
        assert expected in reason


def test_a_relative_name_cannot_leave_its_bucket(
    score: Score, saved: dict[str, Saved], storage: Storage, tmp_path: Path
) -> None:
    """It is refused, not looked up in a bucket of that name."""
    pq.write_table(pa.table({"photo": ["../../bucket-0/a.png"]}), tmp_path / "a.parquet")
    storage.put("data/a.parquet", (tmp_path / "a.parquet").read_bytes())
    with storage.requests() as requests:
        found = score(saved["rgb"].bundle, source=f"{storage.uri}/data/")  # type: ignore[arg-type]
    assert found.code == 65
    assert "empty step, '.' or '..'" in found.err
    assert not [one for one in requests if "bucket-0" in one.path]


def test_a_sample_of_objects(storage: Storage, tmp_path: Path) -> None:
    """Their bytes go into the golden rows."""
    for number, data in enumerate(PHOTOS[:8]):
        storage.put(f"p/{number}", data)
    sample = pa.table({"photo": [f"{storage.uri}/p/{number}" for number in range(8)]})
    save_bundle(
        tmp_path / "b",
        Cnn(3),
        inputs=Image("photo", **PREPARED["rgb"]),
        task=Multiclass(["a", "b", "c"]),
        sample=sample,
    )
    assert pq.read_table(tmp_path / "b" / "golden.parquet").num_rows
