"""Bundles of lists, saved once."""

from pathlib import Path

import pytest
from torch import nn

from sequence_models import TAGS, Kept, load, net, saved


@pytest.fixture(scope="module")
def taggers(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Kept]:
    """With a mask and without, at several batch sizes."""
    found = {}
    for mask in ("padding", None):
        model, folder = net(mask, 4, seed=5), tmp_path_factory.mktemp("tagger") / "b"
        saved(folder, model, "ints", mask, longest=70, task="tagging", labels=TAGS)
        found[mask] = Kept(model, mask, {rows: load(folder, rows) for rows in (None, 1, 2, 3, 5, 8, 13, 64)})
    return found


@pytest.fixture(scope="module")
def words_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A tagger of words that takes no unknown ones."""
    model = net("real", 4, seed=7)
    return saved(tmp_path_factory.mktemp("words") / "b", model, "words", "real", task="tagging", labels=TAGS), model
