"""The list of functions against DuckDB's own catalog."""

import pytest

duckdb = pytest.importorskip("duckdb")

from scoreline.pipeline.features.expressions.duckdb_connection import connect  # noqa: E402
from scoreline.pipeline.features.expressions.functions import LITERALS, REASONS, SIZES  # noqa: E402


@pytest.fixture(scope="module")
def catalog() -> dict[str, set[tuple[str, str | None]]]:
    """The kinds of every function, and whether its result is consistent."""
    found: dict[str, set[tuple[str, str | None]]] = {}
    query = "SELECT function_name, function_type, stability FROM duckdb_functions()"
    for name, kind, stability in connect().execute(query).fetchall():
        found.setdefault(name, set()).add((kind, stability))
    return found


def test_every_function_is_known(catalog: dict[str, set[tuple[str, str | None]]]) -> None:
    """A misspelled name would allow nothing; a name of another version might be something else there."""
    unknown = [name for name in SIZES if not {kind for kind, _ in catalog.get(name, ())} & {"scalar", "macro"}]
    assert not unknown


def test_none_mixes_rows(catalog: dict[str, set[tuple[str, str | None]]]) -> None:
    """No name on the list is also an aggregate or a window function."""
    other = [name for name in SIZES if {kind for kind, _ in catalog[name]} & {"aggregate", "window"}]
    assert not other


def test_none_is_volatile(catalog: dict[str, set[tuple[str, str | None]]]) -> None:
    """No name on the list is one whose value may change from call to call."""
    volatile = [name for name in SIZES if any(stability == "VOLATILE" for _, stability in catalog[name])]
    assert not volatile


def test_lists_agree() -> None:
    """What is refused with a reason is not allowed, and literal arguments belong to allowed functions."""
    assert not set(SIZES) & set(REASONS)
    assert set(LITERALS) <= set(SIZES)
