"""Hive keys in paths."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.inputs.hive import hive_keys, refuse_undecodable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=3))
def test_any_keys(keys: list[tuple[str, str | None]]) -> None:
    """Are read as they were encoded."""
    folders = [
        f"{quote(key, safe='')}={'__HIVE_DEFAULT_PARTITION__' if value is None else quote(value, safe='')}"
        for key, value in keys
    ]
    assert list(hive_keys("/".join(["top", *folders, "file=1.parquet"]))) == keys


def test_other_folders() -> None:
    """Are not keys."""
    assert list(hive_keys("a/=b/c/=/f.parquet")) == []


@pytest.mark.parametrize("folder", ["k=%FF", "k=%C3%28"])
def test_keys_that_are_not_utf8(folder: str) -> None:
    """Two of them would be the same text; other keys, and those that nothing reads, may be anything."""
    name = f"other=%FE/{folder}/a.parquet"
    with pytest.raises(UsageError, match=r"the Hive key in 'k=.*' of input 'other=.*' is not UTF-8; rename it"):
        refuse_undecodable(name, ["k"])
    refuse_undecodable(name, ["a"])
    assert [key for key, _ in hive_keys(name)] == ["other", "k"]
