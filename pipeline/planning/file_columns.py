"""The columns of an input file: which are read, which are carried through, and what is written. Independent of rows."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ..bundle.columns import output_fields
from ..errors import ColumnError, listed, repeated
from ..inputs.columns import check_columns, similar_hint
from ..inputs.formats import FORMATS
from ..inputs.hive import hive_keys, refuse_undecodable
from ..nested import with_named_entries
from ..options import ColumnOptions, CsvDialect, ScoreJob
from ..outputs.assemble import output_schema
from ..outputs.storable import stored_field
from ..records import Partition


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FileColumns:
    """`header`: every column of the file. `read`: the columns that are read, with their types. `hive`: feature columns
    from the path. `text`: columns whose text is parsed as numbers, in the notation of `dialect` (that of the job for
    CSV files, the default for others). `schema`: the columns to be written, of which the first `num_keys` are keys."""

    header: tuple[str, ...]
    read: pa.Schema
    hive: tuple[str, ...]
    text: frozenset[str]
    dialect: CsvDialect
    num_keys: int
    schema: pa.Schema

    @property
    def read_with_hive(self) -> pa.Schema:
        """The columns of blocks: those that are read, and features from the path."""
        if not self.hive:
            return self.read
        return pa.schema([*self.read, *(pa.field(key, pa.string()) for key in self.hive)])


class Shapes:
    """The columns of all inputs of a run. Files with the same columns share one object, so that a plan of a million
    files does not have a million schemas."""

    def __init__(self, manifest: BundleManifest, job: ScoreJob) -> None:
        self._manifest, self._job = manifest, job
        self._schemas: dict[bytes, pa.Schema] = {}
        self._found: dict[tuple[int, str, tuple[str, ...]], FileColumns] = {}

    def shared(self, schema: pa.Schema) -> pa.Schema:
        """The first schema that is equal to this one, with its metadata. May be called by several threads."""
        return self._schemas.setdefault(schema.serialize().to_pybytes(), schema)

    def columns(self, partition: Partition, schema: pa.Schema) -> FileColumns:
        """The columns of a file.

        Args:
            schema: as `shared` has returned it.

        Raises:
            ColumnError: a column is missing, appears twice, has a wrong type, or has the name of an output.
            UsageError: a Hive key that is a feature is not UTF-8.
        """
        shape = id(schema), partition.format, tuple(key for key, _ in partition.hive)
        if shape not in self._found:
            self._found[shape] = _columns(partition, schema, self._manifest, self._job)
        if (found := self._found[shape]).hive:
            refuse_undecodable(partition.name, found.hive)
        return found


def _columns(partition: Partition, schema: pa.Schema, manifest: BundleManifest, job: ScoreJob) -> FileColumns:
    options = job.columns
    schema = pa.schema([field.with_type(with_named_entries(field.type)) for field in schema])
    features = [feature.name for feature in manifest.features]
    hive = tuple(key for key, _ in partition.hive if key in features and key not in schema.names)
    whole = pa.schema([*schema, *(pa.field(key, pa.string()) for key in hive)])
    format = FORMATS[partition.format]  # noqa: A001 - its usual name here
    text = frozenset((*(schema.names if format.cells_are_text else ()), *hive))
    _refuse_keys_above(partition, set(features) - set(whole.names))
    check_columns(whole, manifest.features, text=text, source=partition.name)
    keys = list(_keys(partition, schema, set(features), options))
    wanted = {*features, *keys}
    read = [name for name in schema.names if name in wanted]
    stored = [stored_field(schema.field(name), source=partition.name) for name in keys]
    fields = output_fields(manifest, options)
    _refuse_hive_clash(partition, [options.prefix + field.name for field in fields])
    return FileColumns(
        header=tuple(schema.names),
        read=pa.schema([schema.field(name) for name in read]),
        hive=hive,
        text=text,
        dialect=job.csv if format.has_dialect else CsvDialect(),
        num_keys=len(keys),
        schema=output_schema(pa.schema(stored), fields, options.prefix, source=partition.name),
    )


def _refuse_keys_above(partition: Partition, missing: Collection[str]) -> None:
    """Raise ColumnError for a missing feature that is the Hive key of a folder above the input."""
    folders = partition.path.removesuffix(partition.name).split("/")
    for at, folder in enumerate(folders):
        key = next((key for key, _ in hive_keys(f"{folder}/")), None)
        if key in missing:
            raise ColumnError(
                f"{partition.name}: feature column {key!r} is missing, but the folder {folder!r} above the input has it"
                f" in its name; pass --input {'/'.join(folders[:at])}/",
                column=key,
            )


def _keys(partition: Partition, schema: pa.Schema, features: set[str], options: ColumnOptions) -> Iterator[str]:
    """The columns that are carried through, in the order of the file or of `--keys`. A Hive key is left out, because
    the path of the output has it."""
    times = Counter(schema.names)
    wanted = [name for name in schema.names if name not in features]
    if options.keys is not None:
        wanted = [name for name in options.keys if name in times or name not in dict(partition.hive)]
    for name in wanted:
        if name not in times:
            hint = similar_hint([name], list(times)) or f"; the columns are {listed(list(times), 8)}"
            raise ColumnError(f"{partition.name}: column {name!r} is missing{hint}")
        if times[name] > 1:
            raise ColumnError(
                f"{partition.name}: column {name!r} appears {repeated(times[name])} and cannot be carried through;"
                " name the keys to keep with --keys"
            )
        yield name


def _refuse_hive_clash(partition: Partition, outputs: Sequence[str]) -> None:
    taken = [key for key, _ in partition.hive if key in outputs]
    if taken:
        raise ColumnError(
            f"{partition.name}: the folder {taken[0]!r}= is also the name of an output, and readers would see the"
            " column twice; add --prefix NAME_"
        )
