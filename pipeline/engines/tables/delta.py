"""A Delta Lake table whose folder is the output itself; its log is in `_delta_log`. Needs deltalake."""

import json
from typing import Any

from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from ...errors import ColumnError, DataError, StorageError, one_line
from .files import CONTROLS, TableFile, TableFiles, is_supported, refuse_types

#: The id under which the log has the numbers of commits.
APP = "scoreline"
#: How often a commit is tried while others write to the table.
TRIES = 5


class Delta:
    """The table in a folder.

    Args:
        root: the path of the output.
        run_id: recorded in the log.
    """

    name = "delta"

    def __init__(self, root: str, *, run_id: str) -> None:
        self._root = root
        self._run_id = run_id

    def last_number(self) -> int:
        """As in `Table`."""
        table = self._open()
        return 0 if table is None else self._number(table)

    def check(self, files: TableFiles) -> None:
        """As in `Table`."""
        refuse_types(files, is_supported, "Delta Lake")
        lower = [name.lower() for name in files.table_schema().names]
        if doubled := [name for name in files.table_schema().names if lower.count(name.lower()) > 1]:
            raise ColumnError(
                f"columns {doubled[0]!r} and {doubled[1]!r} differ only in case, which Delta Lake ignores"
            )
        if odd := [file.name for file in files.files if CONTROLS & set(file.name)]:
            raise DataError(
                f"{odd[0]!r} has a control character in its name, with which a Delta table cannot refer to it; rename"
                " the input, or score to another --output"
            )
        if (table := self._open()) is not None:
            _refuse_other_columns(table, files)

    def append(self, files: TableFiles, number: int) -> str:
        """As in `Table`."""
        schema, keys = Schema.from_arrow(files.table_schema()), list(files.keys)
        actions = [_action(file, keys) for file in files.files]
        properties = CommitProperties(
            custom_metadata={"scoreline.run_id": self._run_id},
            max_commit_retries=0,  # they would add the files to the version of another writer, which may be this one
            app_transactions=[Transaction(app_id=APP, version=number)],
        )
        error: Exception | None = None
        for _ in range(TRIES):
            table = self._open()
            if table is not None and self._number(table) >= number:
                return str(table.version())
            try:
                if table is None:
                    create_table_with_add_actions(
                        self._root, schema, actions, mode="error", partition_by=keys, commit_properties=properties
                    )
                else:
                    table.create_write_transaction(
                        actions, "append", schema, partition_by=keys, commit_properties=properties
                    )
            except DeltaError as raised:  # somebody else has written, perhaps the same
                error = raised
        if self.last_number() >= number:
            return str(self._open().version())
        assert error is not None, "a version that was written has its number"
        raise self._error(error) from error

    def _open(self) -> Any:
        """The table; None if it does not exist."""
        try:
            return DeltaTable(self._root) if DeltaTable.is_deltatable(self._root) else None
        except DeltaError as error:
            raise self._error(error) from error

    def _number(self, table: Any) -> int:
        return table.transaction_version(APP) or 0

    def _error(self, error: Exception) -> StorageError:
        return StorageError(
            f"the Delta table {self._root!r} cannot be accessed: {one_line(error)}; run the same command again"
        )


def _action(file: TableFile, keys: list[str]) -> AddAction:
    return AddAction(
        path=file.name,
        size=file.num_bytes,
        partition_values=dict(zip(keys, file.partition, strict=True)),
        modification_time=file.mtime_ms,
        data_change=True,
        stats=json.dumps({"numRecords": file.num_rows}),
    )


def _refuse_other_columns(table: Any, files: TableFiles) -> None:
    """Raise ColumnError unless the table has the columns of the files and is partitioned by their keys."""
    ours = {field["name"]: field["type"] for field in _fields(Schema.from_arrow(files.table_schema()))}
    fields = _fields(table.schema())
    theirs = {field["name"]: field["type"] for field in fields}
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise ColumnError(
                f"column {name!r} is {ours.get(name, 'missing')} in the parts and {theirs.get(name, 'missing')} in the"
                " Delta table; score to another --output"
            )
    if required := [field["name"] for field in fields if not field["nullable"]]:
        raise ColumnError(
            f"column {required[0]!r} is required in the Delta table, but parts may have nulls; make it optional, or"
            " score to another --output"
        )
    if (found := table.metadata().partition_columns) != list(files.keys):
        raise ColumnError(
            f"the Delta table is partitioned by {found}, but the parts by {list(files.keys)}; score to another --output"
        )
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        raise ColumnError("the Delta table maps column names, which the parts cannot follow; score to another --output")


def _fields(schema: Schema) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = json.loads(schema.to_json())["fields"]
    return fields
