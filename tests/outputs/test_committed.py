"""The list of parts that tables refer to."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.errors import DataError
from scoreline.pipeline.outputs.committed import COMMITTED, CommittedPart, read_committed, write_committed
from scoreline.pipeline.outputs.folder_store import FolderStore

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PARTS = st.builds(CommittedPart, table=TEXT, number=st.integers(1, 2**40), target=TEXT, receipt=TEXT)


@settings(max_examples=20)
@given(parts=st.lists(PARTS, max_size=8))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, parts: list[CommittedPart]) -> None:
    """Of any names, in order."""
    store = FolderStore(tmp_path_factory.mktemp("out"))
    write_committed(store, parts)
    assert read_committed(store) == tuple(parts)


def test_missing(tmp_path: Path) -> None:
    """Nothing was committed."""
    assert read_committed(FolderStore(tmp_path / "none")) == ()


def test_damaged(tmp_path: Path) -> None:
    """Is an error, not an empty list: parts must not be replaced."""
    store = FolderStore(tmp_path)
    write_committed(store, [CommittedPart(table="delta", number=1, target="a.parquet", receipt="sha256:00")])
    path = tmp_path / COMMITTED
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR2"))
    with pytest.raises(DataError, match=r"committed\.pq, which lists the parts that tables refer to, cannot be read"):
        read_committed(store)
