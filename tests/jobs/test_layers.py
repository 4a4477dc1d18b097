"""`scoreline layers`: the layers of each member, and why a model has none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.layers import hidden_columns

from conftest import Example, Result

Command = Callable[..., Result]
BUNDLES = Path(__file__).parents[1] / "bundles" / "format1"


def test_a_single_model(scoreline: Command, iris: Example) -> None:
    """In order, with the shape of each result; the names are those of the module."""
    found = scoreline("layers", iris.bundle)
    assert found.code == 0, found.err
    (listed,) = json.loads(scoreline("layers", iris.bundle, "--json").out)
    kinds = [(one["calls"], one["shape"]) for one in listed]
    assert kinds[0] == ("network.0", [32])
    assert kinds[-1] == ("network.8", [3])
    lines = [line.split() for line in found.out.splitlines()[-len(listed) :]]
    assert lines == [[one["name"], one["calls"], str(*one["shape"]), one["column"]] for one in listed]
    assert (listed[0]["name"], listed[0]["column"]) == ("network.0", "hidden_network_0")
    assert "member" not in found.out


def test_names_are_those_of_check(scoreline: Command) -> None:
    """Those of `named_modules()`; each is accepted by `--hidden` and writes the column that is listed."""
    bundle = BUNDLES / "multiclass" / "bundle"
    (listed,) = json.loads(scoreline("layers", bundle, "--json").out)
    assert [(one["name"], one["column"]) for one in listed[:2]] == [("0", "hidden__0"), ("1", "hidden__1")]
    shapes = json.loads(scoreline("check", "--bundle", bundle, "--json").out)["bundle"]["shape"]
    shown = {shape.split(" → ")[0] for shape in shapes}  # without layers that are dropped before scoring
    assert len(shown) > 1
    assert shown <= {one["name"] for one in listed}
    manifest = open_bundle(bundle).manifest
    columns = hidden_columns(manifest, [one["name"] for one in listed])
    assert [column.name for column in columns] == [one["column"] for one in listed]


def test_an_ensemble(scoreline: Command) -> None:
    """Each member by itself."""
    found = scoreline("layers", BUNDLES / "ensemble" / "bundle")
    headings = [line for line in found.out.splitlines() if line.startswith("member")]
    assert headings == ["member 0", "member 1", "member 2"]
    assert len(json.loads(scoreline("layers", BUNDLES / "ensemble" / "bundle", "--json").out)) == 3


def test_a_model_of_sequences(scoreline: Command) -> None:
    """Has no layers of a fixed size."""
    found = scoreline("layers", BUNDLES / "sequence" / "bundle")
    assert found.code == 0
    assert found.out == "the outputs of its layers are as long as each sequence, so --hidden cannot write them\n"


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_not_a_bundle(scoreline: Command, tmp_path: Path, name: str) -> None:
    """With the exit code of a broken bundle."""
    found = scoreline("layers", tmp_path / name)
    assert (found.code, found.out) == (78, "")
