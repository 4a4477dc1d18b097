"""The members of a bundle: ensembles, compared with numpy, and passes that fail or find too little memory."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scoreline.pipeline.model import devices
from scoreline.pipeline.model.first_rows import FirstRows
from scoreline.pipeline.model.members import Members
from scoreline.pipeline.records import Sequences
from scoreline.schemas.heads import RegressionHead, TaggingHead
from scoreline.schemas.inputs import SequenceInput, TableInput
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from described import save_described
from scoreline import BundleError, Scorer
from textbook import ClassificationModel, randomized

RNG = np.random.default_rng(3)

FRAME = pd.DataFrame(
    {"a": RNG.normal(5, 2, 60), "b": RNG.normal(-1, 9, 60), "city": RNG.choice(["x", "y", "z"], 60), "k": range(60)}
)


class TestEnsembles:
    """The combined predictions equal those computed with numpy."""

    features = ("a", "b")

    def members(self, width: int) -> list[nn.Module]:
        torch.manual_seed(1)
        return [randomized(ClassificationModel(2, [8], width), seed).eval() for seed in range(3)]

    def raw(self, members: list[nn.Module]) -> np.ndarray:
        x = torch.tensor(FRAME[["a", "b"]].to_numpy(), dtype=torch.float32)
        with torch.no_grad():
            return np.stack([member(x).double().numpy() for member in members])

    def scored(self, tmp_path: Path, members: list[nn.Module], **words: Any) -> pd.DataFrame:
        save_described(tmp_path / "b", members, features=list(self.features), sample=FRAME, std=True, **words)
        return Scorer.load(tmp_path / "b", device="cpu").score_frame(FRAME)

    def softmax(self, raw: np.ndarray) -> np.ndarray:
        shifted = np.exp(raw - raw.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)

    @pytest.mark.parametrize("combine", ["probability", "logit", "vote", None])
    def test_multiclass(self, tmp_path: Path, combine: Any) -> None:
        members = self.members(3)
        single = self.softmax(self.raw(members))
        expected = single.mean(0)
        if combine == "logit":
            expected = self.softmax(self.raw(members).mean(0))
        elif combine == "vote":
            expected = np.eye(3)[single.argmax(-1)].mean(0)
        got = self.scored(tmp_path, members, task="multiclass", labels=["x", "y", "z"], combine=combine)
        np.testing.assert_allclose(got.filter(like="probability"), expected, rtol=0, atol=1e-6)
        assert got["prediction"].tolist() == [["x", "y", "z"][n] for n in expected.argmax(-1)]
        chosen = np.take_along_axis(single, expected.argmax(-1)[None, :, None], -1)[..., 0]
        np.testing.assert_allclose(got["prediction_std"], chosen.std(0), rtol=0, atol=1e-6)

    @pytest.mark.parametrize("combine", ["probability", "logit", "vote"])
    @pytest.mark.parametrize("width", [1, 2])
    def test_binary(self, tmp_path: Path, combine: Any, width: int) -> None:
        members = self.members(width)
        raw = self.raw(members)
        logits = raw[..., 0] if width == 1 else raw[..., 1] - raw[..., 0]
        single = 1 / (1 + np.exp(-logits))
        expected = {
            "probability": single.mean(0),
            "logit": 1 / (1 + np.exp(-logits.mean(0))),
            "vote": (single > 0.5).mean(0),
        }[combine]
        got = self.scored(tmp_path, members, task="binary", labels=[0, 1], combine=combine)
        np.testing.assert_allclose(got["probability"], expected, rtol=0, atol=1e-6)
        assert got["prediction"].tolist() == (expected > 0.5).astype(int).tolist()

    def test_regression(self, tmp_path: Path) -> None:
        members = self.members(2)
        target = StandardScaler().fit(RNG.normal(50, 9, (40, 2)))
        values = np.stack([target.inverse_transform(raw) for raw in self.raw(members)])
        got = self.scored(tmp_path, members, task="regression", labels=["u", "v"], target_scaler=target)
        assert list(got.columns[-4:]) == ["prediction_u", "prediction_v", "prediction_std_u", "prediction_std_v"]
        np.testing.assert_allclose(got[["prediction_u", "prediction_v"]], values.mean(0), rtol=1e-6)
        np.testing.assert_allclose(got[["prediction_std_u", "prediction_std_v"]], values.std(0), rtol=1e-4, atol=1e-5)

    def test_invalid_combinations_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="'mean' does not support multiclass"):
            self.scored(tmp_path, self.members(3), task="multiclass", labels=[0, 1, 2], combine="mean")
        with pytest.raises(BundleError, match="need several models, and there is only one"):
            self.scored(tmp_path, self.members(3)[:1], task="multiclass", labels=[0, 1, 2])


class Moody(nn.Module):
    """Doubles a column; raises on negative values, and on more rows than `most`. `calls`: the rows of each pass; a
    single row is passed twice."""

    def __init__(self, most: int = 1000, error: type[Exception] = ValueError) -> None:
        super().__init__()
        self.most, self.error = most, error
        self.calls: list[list[float]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(x[:, 0].tolist())
        if len(x) > self.most:
            raise self.error(f"{len(x)} rows")
        if bool((x < 0).any()):
            raise ValueError(f"a negative among {len(x)}")
        return x * 2


def moody(model: nn.Module, pass_rows: int = 100) -> Members:
    """This model alone, with a table of one column and a regression."""
    table, head = TableInput(name="x", columns=["a"]), RegressionHead()
    return Members([model], [table], [head], call="arguments", device=torch.device("cpu"), pass_rows=pass_rows)


def column(*values: float) -> dict[str, Tensor]:
    """The inputs of some rows."""
    return {"x": torch.tensor(values, dtype=torch.float32)[:, None]}


def doubled(outputs: Any) -> list[float]:
    """The outputs of the only head."""
    found: list[float] = outputs["output"][:, 0].tolist()
    return found


class TestMemory:
    """Passes are halved until they fit."""

    def test_the_smaller_size_is_kept(self) -> None:
        """For all rows to come, so that memory runs out once."""
        model = Moody(most=3, error=torch.OutOfMemoryError)
        members = moody(model)
        assert doubled(members.run(column(*range(8)))) == [2.0 * n for n in range(8)]
        assert [len(call) for call in model.calls] == [8, 4, 2, 2, 2, 2]
        assert (members.max_rows_in_memory, members.pass_rows) == (2, 100)
        model.calls.clear()
        members.run(column(*range(5)))
        assert [len(call) for call in model.calls] == [2, 2, 2]

    def test_seconds_are_summed_over_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those of cutting rows into passes, the end included, of the model, and of joining the results, by a clock
        that ticks whenever it is read; a caller may add up blocks. Tables are not padded."""
        ticks = count()
        monkeypatch.setattr(devices, "perf_counter", lambda: next(ticks))
        clock, members = devices.HostClock(), moody(Moody(), pass_rows=2)
        members.run(column(1, 2, 3, 4, 5), clock)
        assert clock.seconds == {"forward": 4 + 3 + 1}
        members.run(column(1), clock)
        assert clock.seconds == {"forward": 8 + 2 + 1 + 1}


class TestIsolatingFailures:
    """Rows that failed together are run in halves."""

    def test_rows_that_fail_alone(self) -> None:
        """Are named with the reason; the others keep their order, and nothing was retried in vain."""
        found = moody(Moody()).run_isolating_failures(column(0, 1, -2, 3, 4, -5, 6), error="together")
        assert found.failed == {2: "the model fails: a negative among 2", 5: "the model fails: a negative among 2"}
        assert doubled(found.heads) == [0, 2, 6, 8, 12]
        assert found.retried == ()

    def test_no_row_fails_alone(self) -> None:
        """The errors of all groups are reported, and the first one, with which they failed together."""
        model = Moody(most=2)
        found = moody(model).run_isolating_failures(column(*range(6)), error="together")
        assert (found.failed, doubled(found.heads)) == ({}, [2.0 * n for n in range(6)])
        assert sorted(found.retried) == ["3 rows", "6 rows", "together"]

    def test_both(self) -> None:
        """Groups without a row that fails alone were too large; the others were not."""
        found = moody(Moody(most=3)).run_isolating_failures(column(-1, 1, 2, 3, 4, 5, 6, 7), error="together")
        assert list(found.failed) == [0]
        assert found.retried == ("4 rows",)
        assert doubled(found.heads) == [2.0 * n for n in range(1, 8)]

    def test_all_rows_fail(self) -> None:
        """There is no output."""
        found = moody(Moody()).run_isolating_failures(column(-1, -2), error="together")
        assert (dict(found.heads), list(found.failed), found.retried) == ({}, [0, 1], ())

    def test_the_first_rows_of_a_file(self) -> None:
        """Are run one by one, the others together."""
        model = Moody()
        first = FirstRows()
        first.announce(6)
        found = moody(model).run_isolating_failures(column(0, -1, 2, 3), error="together", first=first.announce(4))
        assert model.calls == [[0, 0], [-1, -1], [2, 3]]
        assert (list(found.failed), doubled(found.heads)) == ([1], [0, 4, 6])
        model.calls.clear()
        only = FirstRows().announce(2)
        assert doubled(moody(model).run_isolating_failures(column(5, 6), error="", first=only).heads) == [10, 12]
        assert model.calls == [[5, 5], [6, 6]]

    @pytest.mark.parametrize("error", [MemoryError, BundleError])
    def test_errors_that_are_not_about_rows(self, error: type[Exception]) -> None:
        """The host is out of memory, or the bundle is wrong: raised at once."""
        model = Moody(most=1, error=error)
        with pytest.raises(error):
            moody(model).run_isolating_failures(column(*range(8)), error="together")
        assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("length", "more", "problem"),
    [
        (10, 0, None),
        (9, -1, None),  # as long as the longest list, which is padded to ten steps
        (10, -1, "the model returns 9 steps for lists of 10"),
        (10, 1, "the model returns 11 steps for lists of 10"),
    ],
)
def test_labels_for_each_step(length: int, more: int, problem: str | None) -> None:
    """As many as there are steps; those of padding may be missing."""

    class Returns(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return torch.zeros(len(x), x.shape[1] + more, 2)

    sequence = SequenceInput(name="x", columns=["a"], longest=20, mask="real")
    head = TaggingHead(outputs="logits", labels=["u", "v"])
    members = Members([Returns()], [sequence], [head], call="arguments", device=torch.device("cpu"), pass_rows=100)
    offsets = torch.tensor([0, length, 2 * length])
    inputs = {"x": Sequences(values=torch.zeros(2 * length, dtype=torch.int64), offsets=offsets)}
    if problem is not None:
        with pytest.raises(BundleError, match=problem):
            members.run(inputs)
        return
    found = members.run(inputs)["output"]
    assert isinstance(found, Sequences)
    assert (found.values.shape, found.offsets.tolist()) == ((2 * length, 2), offsets.tolist())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when its compiler is imported
def test_compiled_models_that_differ() -> None:
    """If the probe fails, the original models are back, and the reason is returned."""
    model = Moody()
    members = moody(model)

    def differs() -> None:
        assert members.models[0] is not model
        raise ValueError("the golden rows\nwere not reproduced")

    assert members.compile(differs) == "the golden rows were not reproduced"
    assert members.models == [model]


def test_models_that_overwrite_their_inputs() -> None:
    """Get copies where others need them."""

    class Overwrites(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2)

    members = moody(Overwrites())
    inputs = column(1, 2)
    members.keep_inputs = True
    assert doubled(members.run(inputs)) == [2, 4]
    assert inputs["x"][:, 0].tolist() == [1, 2]
