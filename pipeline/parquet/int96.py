"""INT96 timestamps, as written by Spark, Hive and Impala. They count nanoseconds from 4713 BC on, which no Arrow type
can. A column whose values all fit 64 bits of nanoseconds (1677 to 2262) is read as `timestamp[ns]`, as Arrow does; any
other as `timestamp[us]`, in which the values do not overflow.
"""

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import PartitionError

#: Units per second of the possible types.
NANOSECONDS, MICROSECONDS = 10**9, 10**6


def timestamps(array: pa.Array) -> Iterator[pa.Array]:
    """The timestamps of an array, at any nesting."""
    if pa.types.is_timestamp(array.type):
        yield array
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from timestamps(child)
    elif pa.types.is_map(array.type):
        yield from timestamps(array.keys)
        yield from timestamps(array.items)
    elif pa.types.is_nested(array.type):
        yield from timestamps(array.flatten())


def fits(seconds: pa.Array, values: pa.Array, per_second: int) -> bool:
    """Whether all timestamps of an array fit 64 bits of a unit. Whole seconds fit for every INT96. In the first and
    last second, which fit only partly, seconds and values have the same sign unless the values have overflowed."""
    first_s, last_s = -(2**63) // per_second, (2**63 - 1) // per_second
    for coarse, fine in zip(timestamps(seconds), timestamps(values), strict=True):
        whole = coarse.cast(pa.int64())
        found = pc.min_max(whole)
        first, last = found["min"].as_py(), found["max"].as_py()
        if first is None:
            continue
        if first < first_s or last > last_s:
            return False
        signs = pc.equal(pc.less(whole, 0), pc.less(fine.cast(pa.int64()), 0))
        if not pc.all(signs).as_py():
            return False
    return True


def loses_digits(nanoseconds: pa.Array, microseconds: pa.Array) -> bool:
    """Whether timestamps have digits below microseconds. Both arrays may overflow 64 bits; so does their difference."""
    for fine, coarse in zip(timestamps(nanoseconds), timestamps(microseconds), strict=True):
        difference = pc.subtract(fine.cast(pa.int64()), pc.multiply(coarse.cast(pa.int64()), 1000))
        if pc.any(pc.not_equal(difference, 0)).as_py():
            return True
    return False


def joined(
    streams: Sequence[Iterator[pa.RecordBatch]], names: Sequence[str], coarse: Collection[str], source: str
) -> Iterator[pa.RecordBatch]:
    """The columns `names` of several streams of the same rows.

    Args:
        streams: other columns, if there are any; then the columns in `coarse` in microseconds, in nanoseconds, and in
            seconds.
        source: the name of the file in errors.

    Raises:
        PartitionError: a column has timestamps that no Arrow type can represent together.
    """
    for *read, nanoseconds, seconds in aligned(streams):
        for name in coarse:
            values = read[-1].column(name)
            if loses_digits(nanoseconds.column(name), values) or not fits(seconds.column(name), values, MICROSECONDS):
                raise PartitionError(
                    f"{source}: column {name!r} has INT96 timestamps outside 1677–2262, and some need nanoseconds or"
                    " are after the year 290000, so no Arrow type can represent them all; round them where the file is"
                    " written, or leave the column out with --keys",
                    partition=source,
                )
        fields = {field.name: (field, batch.column(field.name)) for batch in read for field in batch.schema}
        arrays = [fields[name] for name in names]
        yield pa.RecordBatch.from_arrays([a for _, a in arrays], schema=pa.schema([f for f, _ in arrays]))


def aligned(streams: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[list[pa.RecordBatch]]:
    """Align the batches of several streams of the same rows. Ends with the first stream that ends."""
    held: list[pa.RecordBatch | None] = [None] * len(streams)
    while True:
        for index, stream in enumerate(streams):
            batch = held[index]
            while batch is None or not batch.num_rows:
                batch = next(stream, None)
                if batch is None:
                    return
            held[index] = batch
        rows = min(batch.num_rows for batch in held if batch is not None)
        yield [batch.slice(0, rows) for batch in held if batch is not None]
        held = [batch.slice(rows) for batch in held if batch is not None]
