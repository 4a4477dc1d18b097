"""The columns of parts.pq and plan.pq."""

from tools.reference.records import PARTS, PIECES, records_section


def test_every_column_has_a_meaning_and_every_meaning_a_column() -> None:
    """In the order of the files, which the sections are generated from."""
    rows = [line.split("`")[1] for line in records_section().splitlines() if line.startswith("| `")]
    assert rows == [*PARTS, *PIECES]
