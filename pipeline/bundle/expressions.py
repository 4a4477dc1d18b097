"""The package that evaluates expressions. Does not import it."""

from importlib.metadata import PackageNotFoundError, version

from ...schemas.bundle import BundleManifest

#: Results depend on its version.
PACKAGES = ("duckdb",)


def engine(manifest: BundleManifest) -> str | None:
    """The engine of the expressions as an entry of the fingerprint: another version may have other functions."""
    if not manifest.expressions:
        return None
    try:
        return f"duckdb {version('duckdb')}"
    except PackageNotFoundError:
        return "duckdb"
