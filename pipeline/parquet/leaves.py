"""The leaf columns of a Parquet file: one for a column of numbers or text, one or more for a struct, list or map."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from ..nested import without_dictionaries

#: The largest footer that is kept for the next file.
MOST_SHARED_BYTES = 1 << 16
#: The widest number: decimals of 76 digits.
LIGHT_WIDTH = 32
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf column to be read. `width`: the bytes of a value, None if variable; `nested`: whether it is inside
    lists."""

    index: int
    path: str
    width: int | None
    nested: bool

    @property
    def is_light(self) -> bool:
        """Whether it has one narrow value of fixed width per row."""
        return self.width is not None and self.width <= LIGHT_WIDTH and not self.nested


class LeafTable:
    """The leaves of a schema, looked up by index and by column. `paths`: the path of every leaf, which are the names
    from its column down."""

    def __init__(self, schema: pq.ParquetSchema, paths: Sequence[Sequence[str]]) -> None:
        self._schema, self.paths = schema, paths

    @classmethod
    def of(cls, file: pq.ParquetFile) -> "LeafTable":
        """The leaves of an open file. Small files whose schemas are equal share them: finding them takes as long as
        opening such a file (measured)."""
        global _latest
        # `ParquetFile.schema` would keep one in the footer, which refers to the footer: a cycle of 56 kB for each file,
        # freed only by the garbage collector.
        schema, paths = pq.ParquetSchema(file.metadata), file.reader.column_paths
        if file.metadata.serialized_size > MOST_SHARED_BYTES:
            return cls(schema, paths)
        latest = _latest
        if latest is None or latest.paths != paths or not latest._schema.equals(schema):
            latest = _latest = cls(schema, paths)
        return latest

    @cached_property
    def int96(self) -> dict[str, set[int]]:
        """The INT96 leaves by column."""
        schema, found = self._schema, dict[str, set[int]]()
        for index, path in enumerate(self.paths):
            if schema.column(index).physical_type == "INT96":
                found.setdefault(path[0], set()).add(index)
        return found

    @cached_property
    def flat(self) -> set[int]:
        """The leaves that have one value per row."""
        return {leaf.index for leaf in self._leaves if not leaf.nested}

    def column_of(self, leaf: Leaf) -> str:
        """The column that a leaf belongs to."""
        return self.paths[leaf.index][0]

    def below(self, names: Collection[str]) -> list[Leaf]:
        """The leaves of some columns. Compares the first step of their paths, since a name may contain a dot."""
        wanted = set(names)
        return [leaf for leaf, path in zip(self._leaves, self.paths, strict=True) if path[0] in wanted]

    @cached_property
    def _leaves(self) -> list[Leaf]:
        schema, found = self._schema, []
        for index, path in enumerate(self.paths):
            about = schema.column(index)
            kind = about.physical_type
            width = about.length if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind)
            found.append(Leaf(index, ".".join(path), width, about.max_repetition_level > 0))
        return found

    def hold_inner_dictionaries(self, leaves: Sequence[Leaf], file: pq.ParquetFile) -> bool:
        """Whether lists, structs or maps among the columns contain dictionaries, in a file with these leaves."""
        owners = {path[0] for path in (self.paths[leaf.index] for leaf in leaves) if len(path) > 1}
        if not owners:
            return False
        types = [field.type for field in file.schema_arrow if field.name in owners]
        return any(pa.types.is_nested(one) and not without_dictionaries(one).equals(one) for one in types)


_latest: LeafTable | None = None
