"""An Iceberg table in a catalog, to which the parts are added where they are. Needs pyiceberg."""

import hashlib
import os
import random
from time import sleep
from typing import Any

import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record

from ...errors import ColumnError, DataError, ScorelineError, StorageError, UsageError, one_line
from ...inputs.tables.iceberg import open_catalog
from .files import CONTROLS, TableFile, TableFiles, is_supported, refuse_types

#: How the columns of files without field ids are found.
MAPPING = "schema.name-mapping.default"
#: How often a commit is tried while others write to the table, and the longest pause after the first try, in seconds.
TRIES, PAUSE_S = 8, 0.2


class Iceberg:
    """A table in a catalog that pyiceberg is configured for.

    Args:
        root: the path of the output.
        table: its namespace and name, `scores.wine`.
        catalog: the name of the catalog in the configuration of pyiceberg.
        run_id: recorded with the version.

    Raises:
        UsageError: the catalog is not configured, or the table has no namespace.
    """

    def __init__(self, root: str, *, table: str, catalog: str, run_id: str) -> None:
        self.name = f"iceberg:{catalog}:{table}"
        self._root, self._table, self._run_id = os.path.realpath(root), table, run_id
        #: The property of the table that has the number of the last commit of this output.
        self._property = f"scoreline.commit.{hashlib.sha256(self._root.encode()).hexdigest()[:16]}"
        if "." not in table:
            raise UsageError(f"the table {table!r} has no namespace; use --iceberg NAMESPACE.TABLE")
        self._catalog = open_catalog(catalog)

    def last_number(self) -> int:
        """As in `Table`."""
        table = self._open()
        return 0 if table is None else self._number(table)

    def check(self, files: TableFiles) -> None:
        """As in `Table`."""
        refuse_types(files, _is_supported, "Iceberg")
        paths = (self._root, *(file.name for file in files.files))
        if odd := [path for path in paths if set(path) & {"?", "#", *CONTROLS}]:
            raise DataError(
                f"{odd[0]!r} has ?, # or a control character in its path, which an Iceberg table cannot refer to;"
                " rename the input, or score to another --output"
            )
        if (table := self._open()) is not None:
            _refuse_other_columns(table, files)

    def append(self, files: TableFiles, number: int) -> str:
        """As in `Table`."""
        failure: Exception | None = None
        for attempt in range(TRIES):
            table = self._open()
            if table is not None and self._number(table) >= number:
                return str(table.current_snapshot().snapshot_id)
            if failure is not None:
                sleep(random.uniform(0, PAUSE_S * attempt))
            try:
                if table is None:
                    self._create(files, number)
                else:
                    self._add(table, files, number)
            except ScorelineError:
                raise
            except Exception as error:  # a conflict, or the answer was lost: the number tells whether it was committed
                failure = error
        table = self._open()
        if table is not None and self._number(table) >= number:
            return str(table.current_snapshot().snapshot_id)
        assert failure is not None, "a version that was written has its number"
        raise self._error(failure) from failure

    def _create(self, files: TableFiles, number: int) -> None:
        """Create the table with its first version, in one step."""
        self._catalog.create_namespace_if_not_exists(self._table.rpartition(".")[0])
        with self._catalog.create_table_transaction(self._table, schema=files.table_schema()) as transaction:
            if files.keys:
                with transaction.update_spec() as spec:
                    for key in files.keys:
                        spec.add_identity(key)
            self._write(transaction, files, number)

    def _add(self, table: Any, files: TableFiles, number: int) -> None:
        """Add a version. Fails if another one was committed since the table was loaded, since that may be this one: the
        retries of pyiceberg, which would add it again, are disabled in the loaded copy."""
        table.metadata.properties["commit.retry.num-retries"] = "0"
        with table.transaction() as transaction:
            self._write(transaction, files, number)

    def _write(self, transaction: Any, files: TableFiles, number: int) -> None:
        metadata = transaction.table_metadata
        properties = {self._property: str(number)}
        if MAPPING not in metadata.properties:
            properties[MAPPING] = metadata.schema().name_mapping.model_dump_json()
        transaction.set_properties(properties)
        spec = metadata.default_spec_id
        with transaction.update_snapshot(
            snapshot_properties={"scoreline.run_id": self._run_id}
        ).fast_append() as append:
            for file in files.files:
                append.append_data_file(_data_file(self._root, file, spec))

    def _open(self) -> Any:
        """The table; None if it does not exist."""
        try:
            return self._catalog.load_table(self._table)
        except NoSuchTableError:
            return None
        except Exception as error:
            raise self._error(error) from error

    def _number(self, table: Any) -> int:
        return int(table.properties.get(self._property, 0))

    def _error(self, error: Exception) -> StorageError:
        return StorageError(
            f"the Iceberg table {self._table!r} cannot be accessed: {one_line(error)}; run the same command again"
        )


def _data_file(root: str, file: TableFile, spec: int) -> Any:
    """The file with its partition, which pyiceberg's `add_files` would take from the columns and leave null."""
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=f"file://{root}/{file.name}",
        file_format=FileFormat.PARQUET,
        partition=Record(*file.partition),
        record_count=file.num_rows,
        file_size_in_bytes=file.num_bytes,
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={},
        upper_bounds={},
        split_offsets=None,
        sort_order_id=None,
        spec_id=spec,
        equality_ids=None,
        key_metadata=None,
    )


def _refuse_other_columns(table: Any, files: TableFiles) -> None:
    """Raise ColumnError unless the table has the columns of the files and is partitioned by their keys."""
    theirs = {field.name: field for field in table.schema().fields}
    ours = files.table_schema()
    if missing := [name for name in ours.names if name not in theirs]:
        raise ColumnError(f"column {missing[0]!r} is missing in the Iceberg table; add it there first")
    found = pyarrow_to_schema(ours, name_mapping=table.schema().name_mapping)
    for field in found.fields:
        if field.field_type != theirs[field.name].field_type:
            raise ColumnError(
                f"column {field.name!r} is {field.field_type} in the parts and {theirs[field.name].field_type} in the"
                " Iceberg table; commit to another table"
            )
    if required := [name for name, field in theirs.items() if field.required]:
        raise ColumnError(
            f"column {required[0]!r} is required in the Iceberg table, but parts may have nulls; make it optional"
        )
    partitions = [
        (table.schema().find_column_name(field.source_id), isinstance(field.transform, IdentityTransform))
        for field in table.spec().fields
    ]
    if partitions != [(key, True) for key in files.keys]:
        raise ColumnError(
            f"the Iceberg table is partitioned by {[name for name, _ in partitions]}, but the parts by"
            f" {list(files.keys)}; commit to another table"
        )


def _is_supported(arrow_type: pa.DataType) -> bool:
    return is_supported(arrow_type) or arrow_type == pa.time64("us")
