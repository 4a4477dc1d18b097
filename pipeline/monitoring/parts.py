"""The parts of an output, in the order of inputs and splits. The only place of this package that reads them from the
run's records."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..outputs.part_records import OutputRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputPart:
    """One part of an output.

    `source`: the name of its input; `format`: that of the input. `first_row`: the number of its first row in the input,
    if all parts before it exist, as in a finished output. `rejects`: the file with its rejected rows, None if it has
    none.
    """

    source: str
    format: str
    target: str
    split: int
    first_row: int
    rows_in: int
    rows_scored: int
    rows_rejected: int
    rejects: str | None


def output_parts(record: OutputRecord) -> Iterator[OutputPart]:
    """Every part, by input and split."""
    for partition in record.partitions:
        first_row = 0
        for part in partition.parts:
            yield OutputPart(
                source=partition.source,
                format=partition.format,
                target=part.target,
                split=part.split,
                first_row=first_row,
                rows_in=part.rows_in,
                rows_scored=part.rows_scored,
                rows_rejected=part.rows_rejected,
                rejects=part.rejects,
            )
            first_row += part.rows_in
