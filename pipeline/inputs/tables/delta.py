"""The data files of a version of a Delta Lake table. Needs deltalake, which reads the log and no data.

A log in an object store is copied first, so that credentials and endpoints are the same as for every other object.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from ...errors import DataError, listed, one_line
from ...storage.folders import Walker, listing_error
from ...storage.plain_files import kind_of
from ...storage.uris import is_remote, parse_uri
from ..found import Found
from ..hive import hive_keys
from .delta_log import LOG, copy_log, refuse_missing_version
from .snapshot import Snapshot, find_files
from .uris import TableUri

TEMPORARY = "scoreline-delta-"
#: Features of tables that change nothing about the rows of a data file, and two that are checked: deletion vectors and
#: the mapping of columns.
FEATURES = frozenset({"columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


def find_delta(uri: TableUri) -> Found:
    """The data files of a version of a Delta table.

    Raises:
        NoInputError: the table or the version does not exist, has no rows, or cannot be listed.
        DataError: the table cannot be read file by file: it has deletion vectors, maps its columns or has a feature
            that is not supported; or a data file is missing, or in a folder of other partition values.
        UsageError: obstore is needed, but not installed.
    """
    with ExitStack() as held:
        table = _open(uri, _log_folder(uri, held))
        _refuse_features(uri, table)
        actions = pa.table(table.get_add_actions(flatten=True))
        names = [unquote(path) for path in actions["path"].to_pylist()]
        _refuse_other_values(uri, names, actions, table.metadata().partition_columns)
        return find_files(Snapshot(table=str(uri), version=str(table.version()), root=uri.name, names=names))


def _log_folder(uri: TableUri, held: ExitStack) -> str:
    """The folder of the table, or one with its log, which is removed with `held`."""
    if is_remote(uri.name):
        folder = held.enter_context(TemporaryDirectory(prefix=TEMPORARY))
        copy_log(parse_uri(uri.name), Path(folder), uri.version)
        return folder
    walker, log = Walker(skip=lambda _: False), f"{uri.name}/{LOG}"
    try:
        is_folder = kind_of(log) == "folder"
    except OSError as error:
        raise listing_error(log, error) from error
    names = [entry.name for entry in walker.entries(walker.start(log))] if is_folder else []
    refuse_missing_version(uri.name, names, uri.version)
    path = Path(uri.name).resolve()
    if "%" not in str(path):
        return uri.name
    folder = held.enter_context(TemporaryDirectory(prefix=TEMPORARY))  # deltalake decodes paths once too often
    Path(folder, LOG).symlink_to(path / LOG)
    return folder


def _open(uri: TableUri, folder: str) -> Any:
    """The table at the version."""
    try:
        return DeltaTable(Path(folder).absolute().as_uri(), version=uri.version)  # a path might be taken for a URL
    except DeltaError as error:
        raise DataError(
            f"{uri} cannot be read: {one_line(error)}; use another version, or a copy of the table"
        ) from error


def _refuse_features(uri: TableUri, table: Any) -> None:
    """Raise DataError for a table whose rows are not simply those of its data files."""
    found = table.protocol().reader_features or []
    if unknown := sorted(set(found) - FEATURES):
        raise DataError(
            f"{uri} has the feature {unknown[0]!r}, which is not supported (supported are {listed(sorted(FEATURES))});"
            " score a copy of the table without it"
        )
    mode = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mode != "none":
        raise DataError(
            f"{uri} maps its columns by {mode} (delta.columnMapping.mode), so those of its files have other names;"
            " score a copy of the table without it"
        )
    if "deletionVectors" in found and (reason := _deletions(table)) is not None:
        raise DataError(
            f"{uri} has deletion vectors, so its files contain rows that were deleted{reason}; rewrite them with REORG"
            " TABLE … APPLY (PURGE), then run again"
        )


def _deletions(table: Any) -> str | None:
    """None if no file has a deletion vector, else what to add to the message."""
    try:
        return (
            "" if any(batch.num_rows for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors())) else None
        )
    except DeltaError as error:
        return f", or that cannot be excluded ({one_line(error)})"


def _refuse_other_values(uri: TableUri, names: list[str], actions: pa.Table, keys: list[str]) -> None:
    """Raise DataError unless the folders of the data files have the partition values of the log: these are not in the
    files, and features and outputs get them from the folders."""
    found = [dict(hive_keys(name)) for name in names]
    for name, hive in zip(names, found, strict=True):
        if sorted(hive) != sorted(keys):
            raise DataError(
                f"data file {name!r} of {uri} is in folders of the keys {sorted(hive)}, but the table is partitioned by"
                f" {keys}, whose values would be lost; score a copy of the table"
            )
    for key in keys:
        values, texts = actions[f"partition.{key}"], [hive[key] for hive in found]
        for index in _differences(values, texts):
            raise DataError(
                f"data file {names[index]!r} of {uri} has {key} = {values[index].as_py()!r} in the log, but"
                f" {texts[index]!r} in its path; score a copy of the table"
            )


def _differences(values: pa.ChunkedArray, texts: list[str | None]) -> Iterator[int]:
    """Where values differ from texts that are parsed as their type."""
    for index, (value, text) in enumerate(zip(values, texts, strict=True)):
        if value.is_valid != (text is not None) or (text is not None and _parsed(text, value.type) != value):
            yield index


def _parsed(text: str, arrow_type: pa.DataType) -> pa.Scalar | None:
    """A text as a value of a type; None if it is not one."""
    try:
        if pa.types.is_timestamp(arrow_type) and arrow_type.tz is not None:
            local = pa.scalar(text.removesuffix("Z")).cast(pa.timestamp(arrow_type.unit))
            return pc.assume_timezone(local, "UTC").cast(arrow_type)
        return pa.scalar(text).cast(arrow_type)
    except pa.ArrowException:
        return None
