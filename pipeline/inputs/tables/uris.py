"""How tables are named as inputs: `delta+PATH@VERSION`, `iceberg+CATALOG:NAMESPACE.TABLE@SNAPSHOT`. Imports no library
for tables.
"""

import re
from typing import Literal, NamedTuple

from ...errors import UsageError
from ...storage.uris import absolute

_VERSIONED = re.compile(r"(?P<name>.*)@(?P<version>[0-9]{1,19})", re.DOTALL)
_ICEBERG = re.compile(r"((?P<catalog>[^:@]+):)?(?P<name>[^:@]+\.[^:@.]+)")
DEFAULT_CATALOG = "default"


class TableUri(NamedTuple):
    """A table as an input. `name`: the folder of a Delta table, as a path or URI, or the `NAMESPACE.TABLE` of an
    Iceberg table in `catalog`; `version`: of Delta, or the id of an Iceberg snapshot; None: the current one."""

    kind: Literal["delta", "iceberg"]
    name: str
    version: int | None
    catalog: str = DEFAULT_CATALOG

    def __str__(self) -> str:
        """For messages."""
        return f"the {'Delta' if self.kind == 'delta' else 'Iceberg'} table {self.name!r}"


def parse_table(where: str) -> TableUri | None:
    """The table that an input names; None for files.

    Raises:
        UsageError: the name of the table is invalid.
    """
    kind, plus, rest = where.partition("+")
    if not plus or kind not in ("delta", "iceberg"):
        return None
    versioned = _VERSIONED.fullmatch(rest)
    name, version = (rest, None) if versioned is None else (versioned["name"], int(versioned["version"]))
    if kind == "delta":
        if not name:
            raise UsageError(f"input {where!r} names no table; use delta+PATH or delta+PATH@VERSION")
        return TableUri("delta", name, version)
    if (named := _ICEBERG.fullmatch(name)) is None:
        raise UsageError(
            f"input {where!r} is not the name of an Iceberg table; use iceberg+NAMESPACE.TABLE,"
            " iceberg+CATALOG:NAMESPACE.TABLE or iceberg+NAMESPACE.TABLE@SNAPSHOT_ID"
        )
    return TableUri("iceberg", named["name"], version, named["catalog"] or DEFAULT_CATALOG)


def absolute_input(where: str) -> str:
    """An input that does not depend on the working directory. URIs and Iceberg tables are returned unchanged."""
    table = parse_table(where)
    if table is None:
        return absolute(where)
    if table.kind == "iceberg":
        return where
    folder = absolute(table.name)
    if table.version is not None:
        return f"delta+{folder}@{table.version}"
    return f"delta+{folder}/" if _VERSIONED.fullmatch(folder) else f"delta+{folder}"
