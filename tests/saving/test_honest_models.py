"""Models whose scores would be plausible but wrong are refused when they are saved; unusual but valid ones are not."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from scoreline.pipeline.bundle.bundle import open_bundle
from torch import Tensor, nn

from described import save_described
from scoreline import BundleError, ModelFailedError, Regression, ScorelineError, Scorer, save_bundle

X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 4)), columns=list("abcd"))


class By(nn.Module):
    """A linear layer, followed by a function."""

    def __init__(self, then: Callable[[Any, Tensor], Any], width: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(4, width)
        self.relu = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm1d(width, track_running_stats=False)
        self.sigmoid = nn.Sigmoid()
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(self, self.layer(x))


def save(path: Path, model: nn.Module, **changes: Any) -> Path:
    given: dict[str, Any] = {"features": list("abcd"), "task": "regression", "sample": X, **changes}
    save_described(path / "b", model, **given)
    return path / "b"


def scored(bundle: Path, frame: pd.DataFrame = X) -> pd.DataFrame:
    return Scorer.load(bundle, device="cpu").score_frame(frame)


def assert_equal(scores: pd.DataFrame, model: nn.Module) -> None:
    """The predictions are those of the model."""
    with torch.no_grad():
        wanted = model.eval()(torch.tensor(X.to_numpy(dtype="float32")))
    np.testing.assert_allclose(scores["prediction"], wanted.numpy()[:, 0], rtol=1e-5, atol=1e-6)


def added_with_out(_self: Any, h: Tensor) -> Tensor:
    torch.add(h, 1, out=h)
    return h


def added_in_place(_self: Any, h: Tensor) -> Tensor:
    g = h
    g += 1
    return h


def silent_relu(self: Any, h: Tensor) -> Tensor:
    self.relu(h)
    return h


def silent_function(_self: Any, h: Tensor) -> Tensor:
    F.relu(h, inplace=True)
    return h


IN_PLACE = [added_with_out, added_in_place, silent_relu, silent_function, lambda _, h: h.add_(1)]


@pytest.mark.parametrize("then", IN_PLACE)
def test_in_place_changes_are_kept(tmp_path: Path, then: Any) -> None:
    """Even if the result of the in-place operation is not used, but its argument is."""
    model = By(then)
    assert_equal(scored(save(tmp_path, model)), model)


@pytest.mark.parametrize(
    "then",
    [
        lambda _, h: h - h.mean(dim=0),
        lambda _, h: h / h.abs().max(),
        lambda _, h: torch.softmax(h, dim=0),
        lambda s, h: s.norm(h),
        lambda _, h: torch.cumsum(h, dim=0),
    ],
    ids=["mean", "max", "softmax", "batch statistics", "cumsum"],
)
def test_models_that_mix_rows_are_refused(tmp_path: Path, then: Any) -> None:
    """A row's score must not depend on other rows, and so on the block size."""
    with pytest.raises(BundleError, match="mixes rows"):
        save(tmp_path, By(then))


@pytest.mark.parametrize(
    ("then", "changes", "message"),
    [
        (lambda _, h: torch.sigmoid(h), {"task": "binary", "labels": [0, 1]}, "ends in Sigmoid.*'probabilities'"),
        (lambda s, h: s.sigmoid(h).squeeze(1), {"task": "binary", "labels": [0, 1]}, "ends in Sigmoid"),
        (lambda _, h: F.logsigmoid(h), {"task": "binary", "labels": [0, 1]}, "ends in LogSigmoid.*'log_prob"),
        (lambda _, h: h.softmax(-1), {"task": "multiclass", "labels": [0, 1, 2]}, "ends in Softmax"),
    ],
)
def test_an_activation_is_not_applied_twice(tmp_path: Path, then: Any, changes: dict[str, Any], message: str) -> None:
    """Detected in the graph, also before changes of shape, regardless of the sample's values."""
    with pytest.raises(BundleError, match=message):
        save(tmp_path, By(then, width=len(changes["labels"]) if changes["task"] == "multiclass" else 1), **changes)


def test_forward_hooks_and_replaced_forwards_are_kept(tmp_path: Path) -> None:
    """Of the model and of a layer inside it."""
    for inner in (False, True):
        hooked, replaced = nn.Sequential(nn.Linear(4, 1)), nn.Sequential(nn.Linear(4, 1))
        changed, of_another = (hooked[0], replaced[0]) if inner else (hooked, replaced)
        changed.register_forward_hook(lambda _m, _i, o: o.clamp(-0.1, 0.1))
        of_another.forward = lambda x: x[:, :1] * 3  # type: ignore[method-assign]
        for model in (hooked, replaced):
            assert_equal(scored(save(tmp_path, model)), model)


def test_random_models_are_refused_and_the_random_state_is_restored(tmp_path: Path) -> None:
    """Even if the noise is below every tolerance."""
    model = By(lambda _, h: h + torch.randn(1) * 1e-7)
    before = torch.get_rng_state()
    with pytest.raises(BundleError, match="random"):
        save(tmp_path, model)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_shapes_that_look_right_for_few_rows_are_refused(tmp_path: Path, rows: int) -> None:
    """However few rows the sample has: a sum that broadcasts, a transposed output."""
    with pytest.raises(BundleError, match=r"output has the shape \[\d+, \d+\]"):
        save(tmp_path, By(lambda _, h: h + h[:, 0]), sample=X.head(rows), task="binary", labels=[0, 1])
    with pytest.raises(BundleError, match=r"output has the shape \[3, \d+\]"):
        save(tmp_path, By(lambda _, h: h.T, 3), sample=X.head(rows), task="multiclass", labels=[0, 1, 2])


def test_models_that_squeeze_score_a_single_row(tmp_path: Path) -> None:
    """The last block of a file may have only one row."""

    def squeezes(_self: Any, h: Tensor) -> Tensor:
        return torch.stack([h[:, :1].squeeze(), h[:, 1:].squeeze()], dim=1)

    bundle = save(tmp_path, By(squeezes, 2), labels=["u", "v"])
    np.testing.assert_allclose(scored(bundle, X.head(1)), scored(bundle).head(1), atol=1e-6)


def test_models_that_view_get_contiguous_rows(tmp_path: Path) -> None:
    """The tensor is stored column by column, which `view` does not support."""

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.view(-1, 2)).view(x.shape[0], 2)

    model = Views()
    got = scored(save(tmp_path, model, labels=["u", "v"]))
    x = torch.tensor(X.to_numpy(), dtype=torch.float32).contiguous()
    np.testing.assert_allclose(got, model(x).detach(), atol=1e-6)


def test_layers_by_any_name(tmp_path: Path) -> None:
    """Column names as keys of a ModuleDict, names with an underscore, numpy integers as sizes."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({n: nn.Linear(4, np.int64(2)) for n in ("capital-gain", "age group", "größe")})
            self._steps = nn.Linear(6, 1)
            self._program = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self._program(self._steps(torch.cat([part(x) for part in self.parts.values()], 1)))

    model = Named()
    got = scored(save(tmp_path, model))
    expected = model(torch.tensor(X.to_numpy(), dtype=torch.float32)).detach()[:, 0]
    np.testing.assert_allclose(got["prediction"], expected, rtol=1e-5, atol=1e-6)


class Lookup(nn.Module):
    """Two columns are cast to indices, two are numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Embedding(5, 2), nn.Embedding(3, 2)
        self.out = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.first(x[:, 0].long()), self.second(x[:, 1].to(torch.int64)), x[:, 2:]], 1))


def test_an_index_out_of_range_is_a_reject(tmp_path: Path) -> None:
    """Detected on the CPU, before a GPU would fail; the other rows are scored."""
    sample = X.assign(a=np.arange(50) % 5, b=np.arange(50) % 3)
    bundle = save(tmp_path, Lookup(), sample=sample)
    bad = sample.assign(a=sample["a"].where(sample.index != 7, 5), b=sample["b"].where(sample.index != 9, -1))
    rows, rejects = Scorer.load(bundle, device="cpu").score_table(pa.Table.from_pandas(bad), with_rejects=True)
    assert rows.num_rows == 48
    said = [(r["row_number"], r["column"], r["reason"]) for r in rejects["reject"].to_pylist()]
    assert said == [
        (7, "a", "is outside the embedding's range 0–4"),
        (9, "b", "is outside the embedding's range 0–2"),
    ]


class Shifted(Lookup):
    """An index that is computed, so that it cannot be checked in advance."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first((x[:, 0] * 1).long())[:, :1]


def test_rows_on_which_the_model_raises_are_rejects(tmp_path: Path) -> None:
    """They are found by halving the block; the other rows are scored as usual, in order."""
    sample = X.assign(a=np.arange(50) % 5)
    scorer = Scorer.load(save(tmp_path, Shifted(), sample=sample), device="cpu")
    table = pa.Table.from_pandas(sample.assign(row=np.arange(50)), preserve_index=False)
    bad = [3, 17, 18, 49]
    broken = table.set_column(0, "a", pa.array([99 if row in bad else row % 5 for row in range(50)]))
    rows, rejects = scorer.score_table(broken, with_rejects=True)
    good = [row for row in range(50) if row not in bad]
    assert rows["row"].to_pylist() == good
    whole = scorer.score_table(table)
    np.testing.assert_allclose(rows["prediction"], whole["prediction"].take(good), atol=1e-6)
    reported = [(reject["row_number"], reject["stage"], reject["reason"]) for reject in rejects["reject"].to_pylist()]
    assert [row for row, _, _ in reported] == bad
    assert {stage for _, stage, _ in reported} == {"forward"}
    assert all("the model fails: index out of range" in reason for _, _, reason in reported)


def test_row_numbers_after_earlier_rejects(tmp_path: Path) -> None:
    """Row numbers are those of the batch as read."""
    sample = X.assign(a=np.arange(50) % 5)
    scorer = Scorer.load(save(tmp_path, Shifted(), sample=sample), device="cpu")
    values = [None if row in (0, 7) else 99 if row == 9 else row % 5 for row in range(50)]
    table = pa.Table.from_pandas(sample.assign(row=np.arange(50)), preserve_index=False)
    rows, rejects = scorer.score_table(table.set_column(0, "a", pa.array(values)), with_rejects=True)
    assert [reject["row_number"] for reject in rejects["reject"].to_pylist()] == [0, 7, 9]
    assert rows["row"].to_pylist() == [row for row in range(50) if row not in (0, 7, 9)]


def test_torchscript_that_raises(tmp_path: Path) -> None:
    """TorchScript has its own exception types."""

    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            if bool((x > 100).any()):
                raise ValueError("too large")
            return self.linear(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but still in use
        torch.jit.script(Picky()).save(str(tmp_path / "m.pt"))
        digest = save(tmp_path, tmp_path / "m.pt", sample=X)
        scorer = Scorer.load(digest, device="cpu", trust=[open_bundle(digest).digest])
    rows, rejects = scorer.score_table(
        pa.Table.from_pandas(X.assign(a=[1000.0 if row in (20, 30) else 1.0 for row in range(50)])), with_rejects=True
    )
    assert rows.num_rows == 48
    assert [reject["row_number"] for reject in rejects["reject"].to_pylist()] == [20, 30]
    assert "too large" in rejects["reject"].to_pylist()[0]["reason"]


def test_failures_after_the_first_rows_are_rejects(tmp_path: Path) -> None:
    """For any block size: many failing rows in the middle of a file are rejects, not a failure of the model."""
    sample = X.assign(a=np.arange(50) % 5)
    scorer = Scorer.load(save(tmp_path, Shifted(), sample=sample), device="cpu")
    bad = range(10, 22)
    table = pa.Table.from_pandas(sample.assign(a=[99 if row in bad else 1 for row in range(50)]), preserve_index=False)
    for block_rows in (10, 7, 50):
        scorer.block_rows = block_rows
        rows, rejects = scorer.score_table(table, with_rejects=True)
        assert [reject["row_number"] for reject in rejects["reject"].to_pylist()] == list(bad)
        assert rows.num_rows == 38


def test_a_model_that_raises_on_its_first_rows_is_at_fault(tmp_path: Path) -> None:
    """If each of the first eight rows fails on its own; fewer rows are rejects."""
    sample = X.assign(a=np.arange(50) % 5)
    scorer = Scorer.load(save(tmp_path, Shifted(), sample=sample), device="cpu")
    with pytest.raises(ModelFailedError, match="rows 0 to 49: the model raises on each of the first 8 rows alone"):
        scorer.score_frame(sample.assign(a=99))
    table = pa.Table.from_pandas(sample.head(3).assign(a=99), preserve_index=False)
    rows, rejects = scorer.score_table(table, with_rejects=True)
    assert (rows.num_rows, rejects.num_rows) == (0, 3)


@pytest.mark.parametrize(
    "labels", [np.array([3, 4, 5]), pd.Index(["x", "y", "z"]), pd.Series([True, False]), (1.5, 2.5, 3.5)], ids=type
)
def test_labels_from_any_kind_of_list(tmp_path: Path, labels: Any) -> None:
    """Such as those of `encoder.classes_` or `np.unique`."""
    task = "binary" if len(labels) == 2 else "multiclass"
    got = scored(save(tmp_path, nn.Linear(4, len(labels)), task=task, labels=labels))
    assert set(got["prediction"]) <= set(np.asarray(labels).tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"x", "y"}}, "targets is a set"),
        ({"labels": "xy"}, "targets: 'xy' is not a list"),
        ({"labels": [b"x", b"y"]}, "a bytes is not a label"),
        ({"labels": ["u", "u"]}, "target 'u' appears twice"),
        ({"features": "abcd"}, "features: 'abcd' is not a list of column names"),
        ({"features": list("abca")}, "column 'a' appears twice"),
        ({"features": ["a", "b", "c", ""]}, "name"),
        ({"labels": [2**70, 1]}, None),
        ({"expected": np.zeros(49)}, "49 rows, but the sample has 50"),
        ({"expected": np.array(["x"] * 50)}, "expected does not match"),
        ({"sample": X.assign(a=[1, "x"] * 25)}, "neither plain numbers nor text"),
        ({"sample": pd.concat([X, X["a"]], axis=1)}, "'a'"),
        ({"sample": X.to_numpy() * 1j}, "neither plain numbers nor text"),
        ({"scaler": [(None, ["a"])]}, "NoneType cannot be saved"),
    ],
)
def test_invalid_arguments_raise_one_line(tmp_path: Path, changes: dict[str, Any], message: str | None) -> None:
    """Always a ScorelineError."""
    if message is None:
        save(tmp_path, nn.Linear(4, 2), **changes)  # names of targets are converted to text
        return
    with pytest.raises(ScorelineError, match=message) as caught:
        save(tmp_path, nn.Linear(4, 2 if "labels" in changes else 1), **changes)
    assert "\n" not in str(caught.value)


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    """`models/current -> v1`: the bundle that it points to is replaced."""
    save(tmp_path, nn.Linear(4, 1))
    (tmp_path / "current").symlink_to(tmp_path / "b")
    digest = save_bundle(tmp_path / "current", nn.Linear(4, 1), features=list("abcd"), task=Regression(), sample=X)
    assert (tmp_path / "current").is_symlink()
    assert Scorer.load(tmp_path / "b", device="cpu").digest == digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "current"]
