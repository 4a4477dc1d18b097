"""What a bundle may contain: layers, operators and transformers, from the allow-lists of the code."""

from collections.abc import Iterable
from textwrap import fill

from scoreline.pipeline.graph.operations import FUNCTIONS, LAYERS, METHODS
from scoreline.pipeline.graph.operators import operators
from scoreline.pipeline.saving.fitted import SUPPORTED


def layers_section() -> str:
    """The layers, functions and tensor methods of a traced graph."""
    return (
        f"**Layers** of `torch.nn`:\n\n{words(LAYERS)}\n\n"
        f"**Functions:**\n\n{words(FUNCTIONS)}\n\n"
        f"**Tensor methods:**\n\n{words(METHODS)}\n"
    )


def operators_section() -> str:
    """The ATen operators of an exported graph, without their overloads."""
    return words({name.split(".")[1] for name in operators()}) + "\n"


def transformers_section() -> str:
    """The transformers of scikit-learn that become steps."""
    return words(SUPPORTED.split(", ")) + "\n"


def words(names: Iterable[str]) -> str:
    """Names as inline code in alphabetical order, in lines of at most 120 characters."""
    ordered = " ".join(f"`{name}`" for name in sorted(names, key=str.lower))
    return fill(ordered, 120, break_long_words=False, break_on_hyphens=False)
