"""The leaf columns of a Parquet file: one for each column of numbers or text, several below a struct, list or map."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from ..nested import without_dictionaries

#: The widest number: decimals of 76 digits.
LIGHT_WIDTH = 32
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf column to be read. `width`: the bytes of a value, None where each has its own; `nested`: whether it
    lies in lists."""

    index: int
    path: str
    width: int | None
    nested: bool

    @property
    def is_light(self) -> bool:
        """A number for each row."""
        return self.width is not None and self.width <= LIGHT_WIDTH and not self.nested


class LeafTable:
    """The leaves of one open file, looked up by index and by column."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file

    @cached_property
    def paths(self) -> list[list[str]]:
        """Of every leaf the names from its column down."""
        return [list(path) for path in self._file.reader.column_paths]

    @cached_property
    def int96(self) -> dict[str, set[int]]:
        """By column its leaves of INT96."""
        schema, found = self._file.schema, dict[str, set[int]]()
        for index, path in enumerate(self.paths):
            if schema.column(index).physical_type == "INT96":
                found.setdefault(path[0], set()).add(index)
        return found

    @cached_property
    def flat(self) -> set[int]:
        """The leaves that have one value in each row."""
        schema = self._file.schema
        return {n for n in range(len(schema)) if schema.column(n).max_repetition_level == 0}

    def column_of(self, leaf: Leaf) -> str:
        """The column that a leaf belongs to."""
        return self.paths[leaf.index][0]

    def below(self, names: Collection[str]) -> list[Leaf]:
        """The leaves below some columns. By the first step of their path: a name may hold a dot."""
        schema, wanted, found = self._file.schema, set(names), []
        for index, path in enumerate(self.paths):
            if path[0] in wanted:
                about = schema.column(index)
                fixed = about.physical_type == "FIXED_LEN_BYTE_ARRAY"
                width = about.length if fixed else _WIDTHS.get(about.physical_type)
                found.append(Leaf(index, ".".join(path), width, index not in self.flat))
        return found

    def hold_inner_dictionaries(self, leaves: Sequence[Leaf]) -> bool:
        """Whether lists, structs or maps among the columns hold dictionaries."""
        owners = {self.column_of(leaf) for leaf in leaves if leaf.path != self.column_of(leaf)}
        kinds = [field.type for field in self._file.schema_arrow if field.name in owners]
        return any(pa.types.is_nested(kind) and not without_dictionaries(kind).equals(kind) for kind in kinds)
