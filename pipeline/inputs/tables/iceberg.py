"""The data files of a snapshot of an Iceberg table. Needs pyiceberg, which reads the metadata and no data."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import FileFormat, ManifestContent
from pyiceberg.transforms import IdentityTransform

from ...errors import DataError, NoInputError, ScorelineError, UsageError, listed, one_line
from ...storage.uris import is_remote
from ..found import Found
from .iceberg_columns import DataFile, TableColumns, refuse_other_columns
from .snapshot import Snapshot, find_files
from .uris import TableUri

#: A property of tables: where their data files are, if not below the location of the table.
DATA_PATH = "write.data.path"
#: Other schemes for the objects of S3.
_S3 = ("s3a://", "s3n://")


def open_catalog(name: str) -> Any:
    """A catalog that pyiceberg is configured for. Raises UsageError for any other."""
    try:
        return load_catalog(name)
    except Exception as error:  # catalogs are plugins, and raise what their libraries raise
        raise UsageError(
            f"the Iceberg catalog {name!r} cannot be opened: {one_line(error)}; configure it for pyiceberg, in"
            " .pyiceberg.yaml or PYICEBERG_CATALOG__… variables"
        ) from error


def find_iceberg(uri: TableUri) -> Found:
    """The data files of a snapshot of an Iceberg table.

    Raises:
        NoInputError: the table or the snapshot does not exist, has no rows, or cannot be listed.
        DataError: the table cannot be read file by file: rows were deleted without rewriting their files, a column has
            another name in a file, a file is not Parquet or is missing, or its folder has other partition values.
        UsageError: the catalog is not configured, or obstore is needed, but not installed.
    """
    catalog = open_catalog(uri.catalog)
    try:
        table = catalog.load_table(uri.name)
        snapshot, schema = _snapshot(uri, table)
        files = list(_data_files(uri, table, snapshot, schema))
    except ScorelineError:
        raise
    except NoSuchTableError as error:
        raise NoInputError(f"{uri} does not exist in the catalog {uri.catalog!r}; check its name") from error
    except Exception as error:  # of any catalog, and of any library that reads the metadata
        raise NoInputError(
            f"{uri} cannot be read: {one_line(error)}; check the catalog {uri.catalog!r} and its credentials"
        ) from error
    root = _root(uri, [file.path for file in files], [table.location(), table.properties.get(DATA_PATH)])
    names = [file.path.removeprefix(f"{root}/") for file in files]
    found = find_files(Snapshot(table=str(uri), version=str(snapshot.snapshot_id), root=root, names=names))
    columns = TableColumns(
        table=str(uri),
        names={number: schema.find_column_name(number) for number in schema.field_ids},
        mapping=dict(_mapped(table.name_mapping() or ())),
    )
    refuse_other_columns(columns, found.entries, files)
    return found


def _snapshot(uri: TableUri, table: Any) -> tuple[Any, Any]:
    """The snapshot, and the columns that the table has in it."""
    if uri.version is None:
        if (current := table.current_snapshot()) is None:
            raise NoInputError(f"{uri} has no rows: it has no snapshot")
        return current, table.schema()
    if (snapshot := table.snapshot_by_id(uri.version)) is None:
        known = [one.snapshot_id for one in reversed(table.snapshots())]
        raise NoInputError(f"{uri} has no snapshot {uri.version}; it has {listed(known) or 'none'}")
    return snapshot, table.schemas().get(snapshot.schema_id, table.schema())


def _data_files(uri: TableUri, table: Any, snapshot: Any, schema: Any) -> Iterator[DataFile]:
    """The data files in the manifests. Raises DataError for files of deletes, and for those that are not Parquet."""
    for manifest in snapshot.manifests(table.io):
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if entries and manifest.content == ManifestContent.DELETES:
            kind = entries[0].data_file.content.name.lower().replace("_", " ")
            raise DataError(
                f"snapshot {snapshot.snapshot_id} of {uri} has {kind}, so its data files contain rows that were"
                " deleted; rewrite the data files of the table, then run again"
            )
        for entry in entries:
            file = entry.data_file
            if file.file_format != FileFormat.PARQUET:
                raise DataError(
                    f"data file {file.file_path!r} of {uri} is {file.file_format.value}, and only Parquet is supported;"
                    " rewrite the data files of the table"
                )
            fields = table.specs()[file.spec_id].fields
            yield DataFile(path=storage_path(file.file_path), partition=dict(_values(file, fields, schema)))


def _values(file: Any, fields: Sequence[Any], schema: Any) -> Iterator[tuple[str, str | None]]:
    """The partition values of a file that are the values of a column."""
    for position, field in enumerate(fields):
        name = schema.find_column_name(field.source_id)
        if name is not None and isinstance(field.transform, IdentityTransform):
            value = file.partition[position]
            text = field.transform.to_human_string(schema.find_type(field.source_id), value)
            yield name, None if value is None else text


def storage_path(location: str) -> str:
    """The path or URI of a location in the metadata of a table: `file:///data/a.parquet`, `s3a://bucket/a.parquet`.
    Nothing in it is decoded."""
    if location.startswith("file:"):
        return "/" + location.removeprefix("file:").lstrip("/")
    return f"s3://{location[len(_S3[0]) :]}" if location.startswith(_S3) else location


def _root(uri: TableUri, paths: Sequence[str], folders: Sequence[str | None]) -> str:
    """The folder that the names of the data files are relative to: the one of the table, if all are below it, or else
    the one that they have in common, above all Hive keys.

    Raises:
        DataError: they have none, or are in a storage that is not supported.
    """
    for folder in filter(None, folders):
        root = storage_path(folder).rstrip("/")
        if all(path.startswith(f"{root}/") for path in paths):
            return root
    if unknown := next((path for path in paths if "://" in path and not is_remote(path)), None):
        raise DataError(
            f"data file {unknown!r} of {uri} is in a storage that is not supported; supported are local files, s3://,"
            " gs:// and az://"
        )
    steps = os.path.commonprefix([path.split("/")[:-1] for path in paths])  # noqa: RUF071 - of lists
    keys = [index for index, step in enumerate(steps) if "=" in step]
    root = "/".join(steps[: keys[0]] if keys else steps)
    if not root or root.endswith((":", ":/")):
        raise DataError(f"the data files of {uri} have no common folder, such as {paths[0]!r} and {paths[-1]!r}")
    return root


def _mapped(fields: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, int | None]]:
    """The names in a name mapping, with dots before those that are nested, and the ids of their columns."""
    for field in fields:
        for name in field.names:
            yield f"{prefix}{name}", field.field_id
            yield from _mapped(field.fields, f"{prefix}{name}.")
