"""The only import of DuckDB: a connection in memory that reads and writes no files and whose settings are locked."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...errors import BundleError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: DuckDB's own memory limit. It is the same on every machine, since rows may be rejected because of it.
MEMORY = "1GB"
#: In this order: the first ones cannot be set after access to files is off.
_SETTINGS = (
    "temp_directory = ''",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "enable_external_access = false",
    "python_enable_replacements = false",
    f"memory_limit = '{MEMORY}'",
    "TimeZone = 'UTC'",
    "Calendar = 'gregorian'",
    "default_collation = ''",
    "max_expression_depth = 250",
    "lock_configuration = true",
)


def _duckdb() -> Any:
    try:
        import duckdb  # an extra, 66 MB: only bundles with expressions need it
    except ImportError as error:
        raise BundleError(
            "the bundle has expressions; install DuckDB with: pip install 'scoreline[expressions]'"
        ) from error
    return duckdb


def error_types() -> tuple[type[Exception], type[Exception], tuple[type[Exception], ...]]:
    """What DuckDB raises for any error, where a statement was interrupted, and where the connection is of no use
    afterwards. Raises as `connect` does."""
    duckdb = _duckdb()
    return duckdb.Error, duckdb.InterruptException, (duckdb.InternalException, duckdb.FatalException)


def connect() -> DuckDBPyConnection:
    """A new connection.

    Raises:
        BundleError: DuckDB is not installed, or is not of a version that can be judged.
    """
    duckdb = _duckdb()
    if not duckdb.__version__.startswith("2."):
        raise BundleError(f"expressions need DuckDB 2, not {duckdb.__version__}; install scoreline[expressions]")
    connection: DuckDBPyConnection = duckdb.connect(":memory:", config={"threads": 1})
    for setting in _SETTINGS:
        connection.execute(f"SET {setting}")
    with suppress(duckdb.Error):
        connection.execute("SET threads = 2")
        raise BundleError("the settings of DuckDB are not locked")  # never seen; checked since everything rests on it
    return connection
