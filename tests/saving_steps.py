"""Transformers as steps."""

from typing import Any

from scoreline.pipeline.saving.fitted import Compiler


def compiled(fitted: Any, names: list[str], text: tuple[str, ...] = ()) -> tuple[list[Any], list[str]]:
    """The steps, through JSON as they are kept on disk, and the columns they give."""
    compiler = Compiler(names, text)
    outputs = compiler.add(fitted, names)
    return [type(step).model_validate_json(step.model_dump_json()) for step in compiler.steps], outputs
