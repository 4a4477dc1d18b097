"""The spec of `scoreline pack` and the functions of expressions."""

from scoreline.jobs.pack import FIELDS
from scoreline.pipeline.features.expressions.functions import SIZES

from .graphs import words


def pack_spec_section() -> str:
    """Every field of a spec, as `scoreline pack --help` shows them."""
    return f"```toml\n{FIELDS.strip()}\n```\n"


def expression_functions_section() -> str:
    """The functions that an expression may call."""
    return words(name for name in SIZES if name.isidentifier()) + "\n"
