"""The Arrow types of raw columns that expressions read, as they are recorded in a bundle. The layout of a column
(dictionaries, large or view types) is not recorded, since it does not affect values."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from .base import Schema

#: Types that are described by their name alone.
Plain = Literal[
    "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "text", "bytes", "date",
]  # fmt: skip


class ArrowType(Schema):
    """A type. `unit`: of times and timestamps. `zoned`: whether timestamps are instants, stored in UTC. `precision`,
    `scale`: of decimals. `fields`: of a list its only element, of a struct its fields, in order."""

    kind: Plain | Literal["decimal", "time", "timestamp", "list", "struct"]
    unit: Literal["us", "ns"] | None = None
    zoned: bool = False
    precision: int | None = Field(default=None, ge=1, le=38)
    scale: int | None = Field(default=None, ge=0, le=38)
    fields: list[ArrowField] = Field(default=[], max_length=1024)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.unit is not None) != (self.kind in ("time", "timestamp")) or (self.zoned and self.kind != "timestamp"):
            raise ValueError(f"unit and zoned do not match the type {self.kind!r}")
        is_decimal = self.precision is not None and self.scale is not None and self.scale <= self.precision
        if is_decimal != (self.kind == "decimal") or (not is_decimal and (self.precision, self.scale) != (None, None)):
            raise ValueError(f"precision and scale do not match the type {self.kind!r}")
        names = [field.name for field in self.fields]
        count = {"list": len(names) == 1, "struct": len(names) >= 1}.get(self.kind, not names)
        if not count or len({name.lower() for name in names}) < len(names):
            raise ValueError(f"fields do not match the type {self.kind!r}")
        return self


class ArrowField(Schema):
    """A field of a struct, or the element of a list."""

    name: str = Field(max_length=1024)
    type: ArrowType
