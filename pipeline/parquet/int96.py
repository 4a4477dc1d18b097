"""INT96 timestamps: Spark's, Hive's and Impala's. They reach from 4713 BC on in nanoseconds, and no type of Arrow does.
A column whose values all lie within what 64 bits of nanoseconds hold (1677 to 2262) is `timestamp[ns]`, as Arrow reads
it; any other is `timestamp[us]`, in which Arrow's own reading would wrap nothing either.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

#: Units in a second, of the types that may hold the values.
NANOSECONDS, MICROSECONDS = 10**9, 10**6


def timestamps(array: pa.Array) -> Iterator[pa.Array]:
    """The timestamps of an array, whatever they are nested in."""
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
    """Whether 64 bits of a unit hold all timestamps of an array, as whole seconds do of every INT96. In the first and
    the last second of which they hold a part, both have the same sign unless the values have wrapped."""
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
    """Whether the same timestamps have digits beyond microseconds; both wrap in 64 bits, and so does the difference."""
    for fine, coarse in zip(timestamps(nanoseconds), timestamps(microseconds), strict=True):
        difference = pc.subtract(fine.cast(pa.int64()), pc.multiply(coarse.cast(pa.int64()), 1000))
        if pc.any(pc.not_equal(difference, 0)).as_py():
            return True
    return False
