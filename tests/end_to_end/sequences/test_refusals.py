"""What `save_bundle` refuses about models and specs of lists, each in one line."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError, ColumnError, UsageError
from torch import Tensor, nn

from described import save_described
from sequence_models import LENGTHS, TAGGING, TAGS, TOKENS, WORDS, Both, Goes, alone, drawn, lists_of_tokens, net, table

pytestmark = pytest.mark.usefixtures("one_core")


class Deaf(nn.Module):
    """Takes a mask but ignores it, so that its outputs depend on the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.begin, self.end = nn.Embedding(len(WORDS), 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        return self.end(self.begin(x).mean(1) + 0.0 * given.sum())


def refused(tmp_path: Path, model: Any, **described: Any) -> str:
    """The message of save_bundle, which is one line; no bundle is left behind."""
    given = {"sample": table("words", drawn("words", LENGTHS)), "features": ["x"], "vocabularies": {"x": WORDS}}
    with pytest.raises((BundleError, ColumnError, UsageError, TypeError)) as caught:
        save_described(tmp_path / "b", model, **{"sequences": {"x": {"longest": 40}}, **given, **described})
    assert not (tmp_path / "b").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"sequences": None}, "contains lists; describe it in inputs by a TokenSequence"),
        ({"sequences": {"x": {}}}, "longest"),
        ({"sequences": {"x": {"longest": 0}}}, "longest"),
        ({"sequences": {"x": {"longest": 40, "width": 3}}}, "unexpected keyword argument 'width'"),
        (
            {"sequences": {"x": {"longest": 40, "unknown": "hm"}}},
            "unknown: 'hm' of column 'x' is not in its vocabulary",
        ),
        ({"sequences": {"x": {"longest": 40, "mask": "some"}}}, "'real', 'padding', 'lengths'"),
        ({"sequences": {"x": {"longest": 40, "mask": "real"}}}, "forward takes 1 argument"),
        ({"sequences": {"x": {"longest": 40, "dtype": "float32"}}}, "contains lists of words; use a TokenSequence"),
        ({"vocabularies": None}, "contains lists of words; use a TokenSequence (kind 'tokens') with a vocabulary"),
        ({"vocabularies": {"x": [*WORDS, "<pad>"]}}, "appears twice"),
        ({"labels": TAGS[:3]}, "tagging takes [rows, steps, labels], of 3 labels"),
        ({"labels": [*TAGS, "more"]}, "tagging takes [rows, steps, labels], of 5 labels"),
        ({"task": "multiclass"}, "it must return one row for each"),
        ({"threshold": 0.3}, "unexpected keyword argument 'threshold'"),
        ({"generate": {"end": "O", "steps": 3}}, "unexpected keyword argument 'generate'"),
        ({"scaler": nn.Identity()}, "scaler needs columns of a Table"),
    ],
)
def test_taggers_that_are_refused(tmp_path: Path, described: dict[str, Any], message: str) -> None:
    """Each with a line that says what to do."""
    assert message in refused(tmp_path, net(None, 4), **{**TAGGING, **described})


def test_a_sample_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """With the length of one list."""
    sample = table("words", drawn("words", [12, 9, 20]))
    said = refused(tmp_path, net(None, 4), **TAGGING, sample=sample, sequences={"x": {"longest": 8}})
    assert "none of the sample's rows can be scored" in said
    assert "steps, but the bundle takes at most 8" in said


def test_tags_without_a_sequence_are_refused(tmp_path: Path) -> None:
    """A table has no steps, and a text column is not a list."""
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.5]})
    message = refused(tmp_path, nn.Linear(1, 4), **TAGGING, sample=frame, sequences=None, vocabularies=None)
    assert "tagging predicts a label for each step of a sequence, and there is no sequence" in message
    texts = pa.table({"x": ["wörd 1", "wörd 2"]})
    assert "is text, but TokenSequence takes lists" in refused(tmp_path, net(None, 4), **TAGGING, sample=texts)


class Shifted(nn.Module):
    """Also returns scores for a mark before the steps, or none for the last step."""

    def __init__(self, more: bool) -> None:
        super().__init__()
        self.net, self.more = Both(4), more

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        return torch.cat([h[:, :1], h], dim=1) if self.more else h[:, 1:]


@pytest.mark.parametrize("more", [True, False])
def test_another_number_of_steps_is_refused(tmp_path: Path, more: bool) -> None:
    """There must be exactly one score per step."""
    refused(tmp_path, Shifted(more), **TAGGING)


@pytest.mark.parametrize(
    "lengths",
    [
        LENGTHS,
        [16] * 20,
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32],
    ],
)
def test_a_model_that_sees_its_padding_is_refused(tmp_path: Path, lengths: list[int]) -> None:
    """Whatever the lengths in the sample."""
    message = refused(
        tmp_path, Deaf(), task="multiclass", labels=["x", "y", "z"], sample=table("words", drawn("words", lengths)),
        sequences={"x": {"longest": 40, "mask": "real"}},
    )  # fmt: skip
    assert "changes with the padding after it; use the mask wherever steps are combined" in message


def generating(tmp_path: Path, model: Any, **described: Any) -> str:
    rows = lists_of_tokens()
    return refused(
        tmp_path,
        model,
        **{
            "task": "generation",
            "labels": TOKENS,
            "sample": table("ints", rows),
            "vocabularies": None,
            "sequences": {"x": {"longest": 20}},
            "generate": {"end": "</s>", "steps": 3},
            **described,
        },
    )


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"generate": None}, "missing 2 required keyword-only arguments: 'end' and 'steps'"),
        ({"generate": {"end": "</s>"}}, "missing 1 required keyword-only argument: 'steps'"),
        ({"generate": {"steps": 3}}, "missing 1 required keyword-only argument: 'end'"),
        ({"generate": {"end": "hm", "steps": 3}}, "end: 'hm' is not in the vocabulary"),
        ({"generate": {"end": "</s>", "steps": 3, "start": "hm"}}, "start: 'hm' is not in the vocabulary"),
        ({"generate": {"end": "</s>", "steps": 3, "start": "<s>"}}, "forward takes 1 argument"),
        ({"generate": {"end": "</s>", "steps": 0}}, "steps"),
        ({"generate": {"end": "</s>", "steps": 3, "beams": 0}}, "beams"),
        ({"generate": {"end": "</s>", "steps": 3, "length_penalty": -1}}, "length_penalty"),
        ({"generate": {"end": "</s>", "steps": 3, "heat": 1}}, "unexpected keyword argument 'heat'"),
        ({"labels": TOKENS[:4]}, "the step model returns [2, 5] for 2 rows and 4 tokens"),
        ({"labels": [*TOKENS, "d"]}, "the step model returns [2, 5] for 2 rows and 6 tokens"),
        (
            {"sequences": {"x": {"longest": 20, "dtype": "float32"}}},
            "without a start, generation continues the model's input, which must be one sequence",
        ),
        ({"outputs": "log_probabilities"}, "logits"),
        ({"outputs": "probabilities"}, "do not sum to 1"),
    ],
)
def test_generators_that_are_refused(tmp_path: Path, described: dict[str, Any], message: str) -> None:
    """Each with a line that says what to do."""
    assert message in generating(tmp_path, Goes().eval(), **described)


def test_several_generators_are_refused(tmp_path: Path) -> None:
    """The mean of texts is not defined."""
    assert "generation must be the only task of a single model" in generating(tmp_path, [Goes().eval(), Goes().eval()])


def test_a_prompt_of_other_words_is_refused(tmp_path: Path) -> None:
    """Without a start token, prompt and output share one vocabulary."""
    sample = pa.table({"x": [[TOKENS[token] for token in row] for row in lists_of_tokens()]})
    generating(tmp_path, Goes().eval(), sample=sample, vocabularies={"x": TOKENS[::-1]})


def test_expected_tags_are_compared(tmp_path: Path) -> None:
    """Another label in one row, and another number of labels."""
    model, rows = net(None, 4), drawn("ints", LENGTHS)
    wanted = [[TAGS[at] for at in outputs.argmax(axis=1)] for outputs in alone(model, None, "ints", rows)]
    described: dict[str, Any] = {
        **TAGGING,
        "sample": table("ints", rows),
        "vocabularies": None,
        "sequences": {"x": {"longest": 40}},
    }
    save_described(tmp_path / "good", model, features=["x"], expected=pa.table({"prediction": wanted}), **described)
    other = [["X" if wanted[0][0] != "X" else "O"], *wanted[1:]]
    message = refused(tmp_path, model, **described, expected=pa.table({"prediction": other}))
    assert "column 'prediction' at row 0" in message
    refused(tmp_path, model, **described, expected=pa.table({"prediction": [["X", "X", "X"], *wanted[1:]]}))
