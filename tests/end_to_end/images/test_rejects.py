"""Images that cannot be decoded are rejects with their stage and reason, and the others are scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from image_models import PHOTOS, Saved, Score, check, encoded, write

pytestmark = pytest.mark.usefixtures("one_core")


def broken() -> dict[str, bytes | None]:
    """One broken image of each sort; `gone` is a file that is not written."""
    deep = Image.fromarray(np.full((20, 20), 40_000, dtype=np.uint16))
    return {
        "truncated": PHOTOS[0][: len(PHOTOS[0]) * 2 // 3],
        "text": b"<html>404</html>",
        "empty": b"",
        "deep": encoded(deep, "PNG"),
        "null": None,
        "gone": None,
    }


def mixed(folder: Path, as_paths: bool) -> tuple[pa.Array, list[bytes], list[int], dict[int, str]]:
    """A column with broken images between good ones; the good ones and their positions; and the sort of each broken
    one."""
    cells: list[Any] = []
    good: list[bytes] = []
    kinds: dict[int, str] = {}
    bad = {name: data for name, data in broken().items() if as_paths or name != "gone"}
    for position, data in enumerate(PHOTOS[:18]):
        if position % 3 == 1 and bad:
            kind = next(iter(bad))
            kinds[len(cells)] = kind
            cells.append((kind, bad.pop(kind)))
        cells.append(("good", data))
        good.append(data)
    positions = [position for position in range(len(cells)) if position not in kinds]
    if not as_paths:
        return pa.array([data for _, data in cells], pa.binary()), good, positions, kinds
    names: list[str | None] = []
    for position, (kind, data) in enumerate(cells):
        names.append(None if kind == "null" else f"{position}-{kind}.jpg")
        if data is not None:
            (folder / f"{position}-{kind}.jpg").write_bytes(data)
    return pa.array(names), good, positions, kinds


REASONS = {
    "truncated": "is broken",
    "text": "is not a JPEG or PNG",
    "empty": "is empty",
    "deep": "more than 8 bits",
    "null": "is null",
    "gone": "no such file",
}


@pytest.mark.parametrize("as_paths", [False, True])
@pytest.mark.parametrize("rows_at_once", ["1", "3", "1000"])
def test_broken_images_are_rejects(
    saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path, as_paths: bool, rows_at_once: str
) -> None:
    """With the stage and a reason; the others are scored, in order, at any block size."""
    (tmp_path / "in").mkdir()
    column, good, positions, kinds = mixed(tmp_path / "in", as_paths)
    write(tmp_path / "in" / "a.parquet", column)
    done = score(saved["rgb"].bundle, "--max-rejects", len(kinds), "--batch-size", rows_at_once)
    assert done.code == 0, done.message
    check(pq.read_table(tmp_path / "out" / "a.parquet"), saved["rgb"].truth(good), ids=positions)
    with pyarrow.ipc.open_file(tmp_path / "out" / "_rejects" / "a.arrow") as file:
        rejects = file.read_all()
    assert rejects["id"].to_pylist() == list(kinds)
    assert rejects["photo"].to_pylist() == [column[position].as_py() for position in kinds]
    for reject, (position, kind) in zip(rejects["reject"].to_pylist(), kinds.items(), strict=True):
        assert reject["row_number"] == position
        assert (reject["source"], reject["column"]) == ("a.parquet", "photo")
        assert reject["stage"] == ("check" if kind == "null" else "images")
        assert REASONS[kind] in reject["reason"]
    run = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert run["rows_rejected"] == len(kinds)
    assert run["rows_scored"] == len(good)
    assert run["stages"]["images"]["rows"] == len(good) + len(kinds) - 1  # a null is rejected before
    assert run["stages"]["images"]["busy_s"] > 0
    assert list(run["stages"]).index("check") < list(run["stages"]).index("images") < list(run["stages"]).index("scale")
    assert scoreline("verify", tmp_path / "out").code == 0


def test_the_reject_budget_is_enforced(saved: dict[str, Saved], score: Score, tmp_path: Path) -> None:
    """One reject too many ends the run and names the first of them."""
    column, _, _, kinds = mixed(tmp_path, as_paths=False)
    write(tmp_path / "in" / "a.parquet", column)
    for words in ((), ("--max-rejects", str(len(kinds) - 1)), ("--max-rejects", "1%")):
        done = score(saved["rgb"].bundle, *words)
        assert done.code == 65
        assert "'photo'" in done.message
        assert "row 1" in done.message
        assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert score(saved["rgb"].bundle, "--max-rejects", "50%").code == 0


def test_nothing_but_rejects_and_no_rows(saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path) -> None:
    """Files in which every row is rejected, and files without rows."""
    write(tmp_path / "in" / "all.parquet", pa.array([b"no", b"", None, PHOTOS[0][:40]] * 5, pa.binary()))
    write(tmp_path / "in" / "none.parquet", pa.array([], pa.binary()))
    write(tmp_path / "in" / "null.parquet", pa.nulls(3))
    done = score(saved["grey"].bundle, "--max-rejects", "100%")
    assert done.code == 0, done.message
    for name in ("all", "none", "null"):
        rows = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert rows.num_rows == 0
        assert rows.column_names[:2] == ["id", "prediction"]
    assert scoreline("verify", tmp_path / "out").code == 0


def test_a_resume_gives_the_same_bytes(saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path) -> None:
    """A removed part is rewritten alone, with its rejects."""
    (tmp_path / "in").mkdir()
    column, _, _, kinds = mixed(tmp_path / "in", as_paths=True)
    write(tmp_path / "in" / "a.parquet", column)
    write(tmp_path / "in" / "b.parquet", pa.array(PHOTOS, pa.binary()))
    words = ("--max-rejects", len(kinds), "--split-rows", "8")
    assert score(saved["rgb"].bundle, *words).code == 0
    files = sorted(path for path in (tmp_path / "out").rglob("*") if path.suffix in (".parquet", ".arrow"))
    first = {path: path.read_bytes() for path in files}
    assert len([path for path in files if path.suffix == ".parquet"]) == 7
    for name in ("a-00001.parquet", "b-00003.parquet", "_rejects/a-00000.arrow"):
        (tmp_path / "out" / name).unlink()
    again = score(saved["rgb"].bundle, *words)
    assert again.code == 0
    assert again.event("run_started")["kept"] == 4
    assert {path: path.read_bytes() for path in files} == first
    assert scoreline("verify", tmp_path / "out").code == 0
