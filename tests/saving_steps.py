"""Compiles fitted transformers to steps."""

from typing import Any

from scoreline.pipeline.saving.fitted import Compiler


def compiled(fitted: Any, names: list[str], text: tuple[str, ...] = ()) -> tuple[list[Any], list[str]]:
    """The steps after a round trip through JSON, and their output columns."""
    compiler = Compiler(names, text)
    outputs = compiler.add(fitted, names)
    return [type(step).model_validate_json(step.model_dump_json()) for step in compiler.steps], outputs
