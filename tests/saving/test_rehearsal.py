"""Rehearsing a bundle before it is published: layout, padding, mixed rows, and the changes by pruning."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.bundle.golden import GoldenRows, read_golden
from scoreline.pipeline.errors import BundleError, GoldenMismatchError
from scoreline.pipeline.model.onednn import is_available
from scoreline.pipeline.records import Sequences
from scoreline.pipeline.saving.draft import Draft, draft
from scoreline.pipeline.saving.rehearsal import pruning_changes, rehearse_bundle
from scoreline.schemas.bundle import BundleManifest
from scoreline.schemas.heads import GenerationHead, MulticlassHead, RegressionHead, TaggingHead
from scoreline.schemas.inputs import TableInput
from torch import Tensor, nn
from torch.nn.utils import rnn

from captured import rows_of
from scoreline import FloatSequence, Multiclass, Regression, Scorer, TokenSequence, save_bundle

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=list("abc"))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def drafted(model: nn.Module, *, num_arguments: int = 1) -> Draft:
    names = ["features", *map(str, range(1, num_arguments))]
    return draft(model, "", inputs=["features"], examples=[rows_of(names, torch.zeros(3, 3))])


def described(path: Path) -> tuple[BundleManifest, GoldenRows]:
    """The manifest and golden rows of a bundle."""
    bundle = open_bundle(path)
    manifest = bundle.manifest
    data = bundle.read(manifest.golden.file)
    return manifest, read_golden(data, [feature.name for feature in manifest.features], ["output"])


@pytest.fixture
def saved(tmp_path: Path) -> tuple[BundleManifest, GoldenRows]:
    task = Multiclass(["x", "y", "z"])
    save_bundle(tmp_path / "b", network(), features=list("abc"), task=task, sample=FRAME)
    return described(tmp_path / "b")


def test_a_model_that_is_reproduced(saved: tuple[BundleManifest, GoldenRows]) -> None:
    """Leaves the manifest as it is."""
    manifest, golden = saved
    assert rehearse_bundle(manifest, [drafted(network())], golden) is manifest


def test_another_model(saved: tuple[BundleManifest, GoldenRows]) -> None:
    """Does not reproduce the golden rows."""
    with pytest.raises(GoldenMismatchError, match="raw output 'output'"):
        rehearse_bundle(saved[0], [drafted(network(1))], saved[1])


class Viewed(nn.Module):
    """Views its input, which must be contiguous by row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x.view(-1).view(-1, 3))
        return found


def test_a_model_that_views_its_input(saved: tuple[BundleManifest, GoldenRows]) -> None:
    """Gets contiguous tables; nothing else of the manifest changes."""
    manifest = rehearse_bundle(saved[0], [drafted(Viewed())], saved[1])
    (table,) = manifest.inputs
    assert isinstance(table, TableInput)
    assert table.contiguous
    assert manifest.model_copy(update={"inputs": saved[0].inputs}) == saved[0]


class Centred(nn.Module):
    """Subtracts the mean of the batch, once the batch is not the whole sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x) + (x - x.mean(dim=0)).sum(dim=1, keepdim=True)
        return found


def test_a_model_that_mixes_rows(saved: tuple[BundleManifest, GoldenRows]) -> None:
    """Even if it reproduces the golden rows as one batch."""
    manifest, golden = saved
    made = drafted(Centred())
    with torch.no_grad():
        raw = made.reference(torch.from_numpy(FRAME.to_numpy(np.float32).copy())).numpy()
    with pytest.raises(BundleError, match=r"^the model mixes rows: a row's output depends on other rows of its batch"):
        rehearse_bundle(manifest, [made], replace(golden, raw={"output": raw}, columns={}))


@pytest.mark.parametrize(("depth", "width", "unit"), [(3, 256, 1e3), (4, 512, 1e6)])
def test_outputs_in_large_units_close_to_zero(tmp_path: Path, depth: int, width: int, unit: float) -> None:
    """Rounding has the size of what is added, not of the sum; kernels for other numbers of rows round otherwise."""
    torch.manual_seed(0)
    widths = [30, *[width] * (depth - 1)]
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, 1)).eval()
    sample = np.random.default_rng(0).normal(size=(500, 30))
    with torch.no_grad():
        model[-1].weight *= unit
        model[-1].bias -= model(torch.from_numpy(sample).float()).mean()
    names = [f"f{number}" for number in range(30)]
    save_bundle(tmp_path / "b", model, features=names, task=Regression(), sample=sample)
    found = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.table(dict(zip(names, sample.T, strict=True))))
    with torch.no_grad():
        wanted = model(torch.from_numpy(sample).float())[:, 0].numpy()
    np.testing.assert_allclose(found["prediction"].to_numpy(), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.skipif(not is_available(), reason="torch has no oneDNN for this processor")
def test_small_differences_of_large_numbers(tmp_path: Path) -> None:
    """MKL multiplies a model whose golden rows oneDNN does not reproduce, when it is saved and when it is loaded."""
    model = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 3)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1e5, 1, 1, 1, 1, 1], [1e5, -1, 1, 1, 1, 1]]))
        model[1].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]))
    sample = np.random.default_rng(0).normal(size=(256, 6))
    names = [f"f{number}" for number in range(6)]
    task = Regression(["a", "b", "c"])
    save_bundle(tmp_path / "b", model, features=names, task=task, sample=sample)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    (graph,) = scorer.members.models
    assert [type(layer) for layer in graph.children()] == [nn.Linear] * 2
    found = scorer.score_table(pa.table(dict(zip(names, sample.T, strict=True))))
    with torch.no_grad():
        wanted = model(torch.from_numpy(sample).float()).numpy()
    assert np.array_equal(np.stack([found[name] for name in found.schema.names], axis=1), wanted)


class Padded(nn.Module):
    """The mean of a list, over its own steps or over the padding as well."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        share = real.float().unsqueeze(-1) if self.masked else torch.ones_like(x)
        return (x * share).sum(dim=1) / share.sum(dim=1)


def test_a_model_that_ignores_its_mask(tmp_path: Path) -> None:
    """Lists of the sample are equally long, so that only more padding shows it."""
    lists = pa.table({"x": pa.array([[float(n), 2.0 * n] for n in range(1, 9)])})
    inputs = FloatSequence(["x"], longest=9, mask="real")
    save_bundle(tmp_path / "b", Padded(masked=True), inputs=inputs, task=Regression(), sample=lists)
    manifest, golden = described(tmp_path / "b")
    made = drafted(Padded(masked=True), num_arguments=2)
    assert rehearse_bundle(manifest, [made], golden) == manifest
    with pytest.raises(BundleError, match=r"^the model's output for a list changes with the padding after it"):
        rehearse_bundle(manifest, [drafted(Padded(masked=False), num_arguments=2)], golden)


class Looked(nn.Module):
    """The mean of an embedding over the real steps."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 1)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        share = real.float().unsqueeze(-1)
        return (self.table(x) * share).sum(dim=1) / share.sum(dim=1)


@pytest.mark.parametrize("values", [[[0, 1, 2], [3], [4, 0]] * 3, [[0, 1], [2, 3], [4, 0]] * 3])
def test_pads_that_the_model_does_not_accept(tmp_path: Path, values: list[list[int]]) -> None:
    """They are named, also if the lists of the sample are equally long. A pad may be the token of a word."""
    lists = pa.table({"x": values})

    def save(pad: int) -> str:
        inputs = {"x": TokenSequence("x", longest=9, mask="real", pad=pad)}
        return save_bundle(tmp_path / "b", Looked(), inputs=inputs, task=Regression(), sample=lists)

    for pad in (0, 4):
        assert save(pad).startswith("sha256:")
    for pad in (5, 9, -1):
        says = rf"^the model fails on lists that are padded with pad {pad} \(input 'x'\): index out of range"
        with pytest.raises(BundleError, match=says):
            save(pad)


class TestPruningChanges:
    """The changes by pruning, measured on the golden rows."""

    def changes(self, raw: Any, whole: Any, head: Any) -> Any:
        pruned = network()
        with torch.no_grad():
            pruned[0].weight[:2] = 0
        return pruning_changes(0.25, [drafted(pruned)], [head], None, {head.name: raw}, {head.name: whole})

    def test_of_classes(self) -> None:
        """Zeros among the weights, the largest difference, and the labels that changed."""
        whole = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 5.0]])
        raw = torch.tensor([[1.0, 1.5, 0.0], [0.0, 2.0, 1.0], [2.0, 1.0, 1.5]])
        found = self.changes(raw, whole, MulticlassHead(outputs="logits", labels=["a", "b", "c"]))
        assert (found.share, found.zeros, found.weights) == (0.25, 6, 8 * 3 + 3 * 8)
        assert (found.largest_difference, found.labels_changed) == (3.5, 2)

    def test_of_numbers(self) -> None:
        """There are no labels to change."""
        found = self.changes(torch.tensor([[1.0]]), torch.tensor([[1.5]]), RegressionHead())
        assert (found.largest_difference, found.labels_changed) == (0.5, 0)

    def test_of_steps(self) -> None:
        """Each step counts; a label per step is not counted as a label of the row."""
        offsets = torch.tensor([0, 0, 2])
        whole, raw = (
            Sequences(values=torch.tensor([[1.0, 2.0], [0.0, last]]), offsets=offsets) for last in (1.0, -0.25)
        )
        found = self.changes(raw, whole, TaggingHead(outputs="logits", labels=["a", "b"]))
        assert (found.largest_difference, found.labels_changed) == (1.25, 0)

    def test_of_texts(self) -> None:
        """The scores are compared, since the texts may have different lengths."""
        head = GenerationHead(outputs="logits", labels=["</s>", "a"], end=0, steps=3, length_penalty=1.0)
        whole = Sequences(values=torch.tensor([[1, -0.5], [0, -1.5], [0, -1.0]]), offsets=torch.tensor([0, 2, 3]))
        raw = Sequences(values=torch.tensor([[0, -0.75], [1, -1.0], [0, -0.5]]), offsets=torch.tensor([0, 1, 3]))
        found = self.changes(raw, whole, head)
        assert (found.largest_difference, found.labels_changed) == (0.25, 0)

    def test_of_masked_labels(self) -> None:
        """Minus infinity in both has no difference."""
        whole = torch.tensor([[1.0, -torch.inf], [-torch.inf, 3.0]])
        found = self.changes(whole + 0.5, whole, MulticlassHead(outputs="logits", labels=["a", "b"]))
        assert (found.largest_difference, found.labels_changed) == (0.5, 0)


class _OfLists(nn.Module):
    """A mistake in how steps are combined: the result depends on the longest list of a batch."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.turn, self.out, self.wide = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 1), nn.Linear(1, 8)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.how in ("last", "residual"):
            packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            steps, _ = rnn.pad_packed_sequence(self.turn(packed)[0], batch_first=True)
            if self.how == "last":
                return self.out(steps[:, -1])
            steps = steps + self.wide(x)
        else:
            steps = self.wide(x)
        real = (torch.arange(steps.shape[1]).unsqueeze(0) < lengths.unsqueeze(1)).unsqueeze(2)
        number = lengths.max() if self.how == "mean" else lengths.unsqueeze(1)
        return self.out((steps * real).sum(1) / number)


@pytest.mark.parametrize("sample", [[10] * 6, [3, 5, 8, 1, 2, 7], [48] * 4, [9, 12, 16, 20]])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("last", "depends on the lengths of the others in its batch"),
        ("mean", "depends on the lengths of the others in its batch"),
        ("residual", r"total_length=x.size\(1\) in pad_packed_sequence"),
        ("right", ""),
    ],
)
def test_outputs_that_depend_on_the_longest_list(tmp_path: Path, how: str, sample: list[int], message: str) -> None:
    """Also if no lists of the sample share a pass with others of another length."""
    torch.manual_seed(0)
    rows = np.random.default_rng(0)
    frame = pd.DataFrame({"x": [rows.normal(size=number).tolist() for number in sample]})
    lists = FloatSequence(["x"], longest=48, mask="lengths")
    if not message:
        save_bundle(tmp_path / "b", _OfLists(how).eval(), inputs=lists, task=Regression(), sample=frame)
        return
    with pytest.raises(BundleError, match=message):
        save_bundle(tmp_path / "b", _OfLists(how).eval(), inputs=lists, task=Regression(), sample=frame)
