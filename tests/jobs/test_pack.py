"""The output of `scoreline pack --help`."""

import dataclasses
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from scoreline.jobs.pack import FIELDS
from scoreline.schemas.pack import (
    INPUT_TABLES,
    TASK_TABLES,
    EnsembleOfFiles,
    ModelFile,
    PackSpec,
    ScalerFile,
    SingleModelFile,
)

from conftest import Result

LISTED = tomllib.loads(FIELDS)


def fields(kind: type[Any]) -> set[str]:
    """The fields of a spec."""
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return set(kind.model_fields)


@pytest.mark.parametrize(("name", "kinds"), [("task", TASK_TABLES), ("inputs", INPUT_TABLES)])
def test_every_kind_is_listed_with_every_field(name: str, kinds: tuple[Any, ...]) -> None:
    """No more and no fewer than the schema has."""
    listed = {table["kind"]: set(table) for table in LISTED[name].values()}
    assert listed == {kind.kind: fields(kind) for kind in kinds}


def test_the_other_tables_are_listed_with_every_field() -> None:
    """No more and no fewer than the schema has."""
    assert set(LISTED) == fields(PackSpec)
    assert set(LISTED["model"]) == fields(EnsembleOfFiles)
    assert fields(SingleModelFile) - fields(ModelFile) <= fields(EnsembleOfFiles)
    assert set(LISTED["model"]["members"][0]) == fields(ModelFile)
    assert set(LISTED["scaler"][0]) == fields(ScalerFile)


def test_help_shows_the_listing(scoreline: Callable[..., Result]) -> None:
    """As it is; the reference has it, too."""
    shown = " ".join(scoreline("pack", "--help").out.split())
    assert " ".join(FIELDS.split()) in shown
