"""`scoreline layers`: the layers of each member, and why a model has none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
    assert lines == [[one["name"], one["calls"], str(*one["shape"])] for one in listed]
    assert "member" not in found.out


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
