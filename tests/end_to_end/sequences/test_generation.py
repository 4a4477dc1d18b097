"""Generated texts, compared with an exhaustive search and an argmax loop in plain Python."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from conftest import Result
from described import save_described
from scoreline import Generation, save_bundle
from sequence_models import (
    CLOSE,
    LENGTHS,
    TOKENS,
    WORDS,
    Goes,
    drawn,
    lists_of_tokens,
    load,
    log_softmax,
    read,
    saved,
    score,
    table,
    with_mask,
    write,
)

pytestmark = pytest.mark.usefixtures("one_core")

Command = Callable[..., Result]


class Writer(nn.Module):
    """The mean of an encoder, combined with the tokens generated so far."""

    def __init__(self, vocabulary: int = 5) -> None:
        super().__init__()
        self.encode, self.decode = nn.Embedding(len(WORDS), 16), nn.Embedding(vocabulary, 16)
        self.turn, self.end = nn.GRU(16, 16, batch_first=True), nn.Linear(16, vocabulary)

    def forward(self, x: Tensor, there: Tensor, prefix: Tensor) -> Tensor:
        share = there.unsqueeze(-1).float()
        context = (self.encode(x) * share).sum(1) / share.sum(1)
        h, _ = self.turn(self.decode(prefix) + 4 * context.unsqueeze(1))
        return 7 * self.end(h)


class LastOnly(Writer):
    """The same, with only the scores of the next token."""

    def forward(self, x: Tensor, there: Tensor, prefix: Tensor) -> Tensor:
        return super().forward(x, there, prefix)[:, -1]


class GoesMasked(Goes):
    """The same with a mask: the mean of the real steps up to each step."""

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        h = self.begin(x).masked_fill(hidden.unsqueeze(-1), 0.0)
        count = (~hidden).float().cumsum(1).unsqueeze(-1)
        return 8 * self.end(h.cumsum(1) / count + h)


Next = Callable[[list[int]], list[float]]


def nexts(model: nn.Module, row: list[int], *, start: int | None, mask: str | None) -> Next:
    """Log-probabilities of the tokens after a prefix, by the model alone with one row."""

    def step(tokens: list[int]) -> list[float]:
        with torch.no_grad():
            if start is None:
                raw = model(*with_mask(mask, torch.tensor([row + tokens])))
            else:
                raw = model(*with_mask(mask, torch.tensor([row])), torch.tensor([[start, *tokens]]))
        raw = raw[0] if raw.ndim == 2 else raw[0, -1]
        return log_softmax(raw.double().numpy()).tolist()

    return step


def likeliest(step: Next, *, end: int, steps: int, length_penalty: float) -> tuple[float, float, list[int]]:
    """The best of all possible texts: its score, its log-probability and its tokens."""

    def texts(tokens: list[int], total: float) -> Iterator[tuple[float, float, list[int]]]:
        for token, log in enumerate(step(tokens)):
            text = [*tokens, token]
            if token == end or len(text) == steps:
                yield (total + log) / len(text) ** length_penalty, total + log, text
            else:
                yield from texts(text, total + log)

    return max(texts([], 0.0))


def greedy(step: Next, *, end: int, steps: int) -> tuple[float, float, list[int]]:
    """An argmax loop."""
    tokens: list[int] = []
    total = 0.0
    while len(tokens) < steps and tokens[-1:] != [end]:
        logs = step(tokens)
        tokens.append(int(np.argmax(logs)))
        total += logs[tokens[-1]]
    return total, total, tokens


def check_texts(got: pa.Table, wanted: list[tuple[float, float, list[int]]], labels: Sequence[Any], end: int) -> None:
    """Check the words, both numbers, and whether the end was reached, which is not a word."""
    assert got["id"].to_pylist() == [7 * at for at in range(len(wanted))]
    for row, (value, total, tokens) in zip(got.to_pylist(), wanted, strict=True):
        assert row["prediction"] == [labels[token] for token in tokens if token != end]
        assert row["ended"] == (tokens[-1] == end)
        assert labels[end] not in row["prediction"]
        assert row["log_probability"] == pytest.approx(total, abs=CLOSE)
        assert row["score"] == pytest.approx(value, abs=CLOSE)


SAID = [(4, 125, 0.0), (3, 64, 0.6), (3, 1024, 1.0), (4, 125, 2.0), (1, 7, 1.0)]
#: Each model with texts of several lengths, and each setting with a model; the others are long tests.
SHORT = {Writer: SAID[1:], LastOnly: [SAID[1], SAID[4]]}


@pytest.mark.parametrize(
    ("made", "steps", "beams", "penalty"),
    [
        pytest.param(made, *said, marks=() if said in SHORT[made] else pytest.mark.long)
        for made, said in product((Writer, LastOnly), SAID)
    ],
)
def test_wide_beams_find_the_likeliest_text(tmp_path: Path, made: Any, steps: int, beams: int, penalty: float) -> None:
    """The best of all possible texts, found in plain Python."""
    torch.manual_seed(1)
    model, rows = made().eval(), drawn("ints", LENGTHS[:12], seed=2)
    generate = {"start": "<s>", "end": "</s>", "steps": steps, "beams": beams, "length_penalty": penalty}
    saved(tmp_path / "b", model, "ints", "real", task="generation", labels=TOKENS, generate=generate)
    wanted = [
        likeliest(nexts(model, row, start=0, mask="real"), end=1, steps=steps, length_penalty=penalty) for row in rows
    ]
    assert len({tuple(text[2]) for text in wanted}) > 1
    check_texts(load(tmp_path / "b", 5).score_table(table("ints", rows)), wanted, TOKENS, 1)
    check_texts(load(tmp_path / "b").score_table(table("ints", rows)), wanted, TOKENS, 1)


@pytest.mark.parametrize(("made", "mask"), [(Goes, None), (GoesMasked, "padding")])
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize(
    ("steps", "beams", "penalty"), [pytest.param(4, 125, 0.7, marks=pytest.mark.long), (3, 64, 0.7), (3, 64, 0.0)]
)
def test_prompts_of_any_length_are_continued(
    tmp_path: Path, made: Any, mask: str | None, words: bool, steps: int, beams: int, penalty: float
) -> None:
    """From their own end, padded or not, for prompts of words or of tokens."""
    torch.manual_seed(2)
    model, rows = made().eval(), lists_of_tokens()
    given = pa.table(
        {
            "id": np.arange(len(rows)) * 7,
            "x": pa.array([[TOKENS[token] for token in row] for row in rows] if words else rows),
        }
    )
    save_described(
        tmp_path / "b",
        model,
        features=["x"],
        sample=given,
        task="generation",
        labels=TOKENS,
        sequences={"x": {"longest": 20, "mask": mask}},
        vocabularies={"x": TOKENS} if words else None,
        generate={"end": "</s>", "steps": steps, "beams": beams, "length_penalty": penalty},
    )
    wanted = [
        likeliest(nexts(model, row, start=None, mask=mask), end=1, steps=steps, length_penalty=penalty) for row in rows
    ]
    check_texts(load(tmp_path / "b").score_table(given), wanted, TOKENS, 1)


@pytest.mark.parametrize("start", [0, None])
def test_greedy_is_an_argmax_loop(tmp_path: Path, start: int | None) -> None:
    """Many words, of which the first and the last are the tokens that end and start a text."""
    torch.manual_seed(3)
    model = (Writer(17) if start is not None else Goes(17)).eval()
    labels, mask = [n * 10 for n in range(17)], "real" if start is not None else None
    rows = [[token % 17 for token in row] for row in drawn("ints", LENGTHS, seed=5)]
    given = table("ints", rows)
    generate = {"end": 160, "steps": 9, **({} if start is None else {"start": 0})}
    save_described(
        tmp_path / "b", model, features=["x"], sample=given, task="generation", labels=labels, generate=generate,
        sequences={"x": {"longest": 40, "mask": mask}},
    )  # fmt: skip
    wanted = [greedy(nexts(model, row, start=start, mask=mask), end=16, steps=9) for row in rows]
    check_texts(load(tmp_path / "b").score_table(given), wanted, labels, 16)
    check_texts(load(tmp_path / "b", 1).score_table(given), wanted, labels, 16)


class FromTable(nn.Module):
    """Words for the numbers of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(2, 16), nn.Embedding(5, 16)
        self.turn, self.end = nn.GRU(16, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: Tensor, prefix: Tensor) -> Tensor:
        h, _ = self.turn(self.decode(prefix) + self.encode(x).unsqueeze(1))
        return 4 * self.end(h)[:, -1]


def test_words_for_the_numbers_of_a_row(tmp_path: Path) -> None:
    """A table as the input of the encoder, in place of a list."""
    torch.manual_seed(4)
    model = FromTable().eval()
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32), columns=["a", "b"])
    generate = {"start": "<s>", "end": "</s>", "steps": 5}
    save_bundle(tmp_path / "b", model, features=["a", "b"], task=Generation(TOKENS, **generate), sample=frame)
    got = load(tmp_path / "b").score_frame(frame)
    for row, numbers in zip(got.to_dict("records"), frame.to_numpy(), strict=True):

        def step(tokens: list[int], numbers: np.ndarray = numbers) -> list[float]:
            with torch.no_grad():
                raw = model(torch.from_numpy(numbers.copy())[None], torch.tensor([[0, *tokens]]))
            return log_softmax(raw[0].double().numpy()).tolist()

        _, total, tokens = greedy(step, end=1, steps=5)
        assert list(row["prediction"]) == [TOKENS[token] for token in tokens if token != 1]
        assert row["log_probability"] == pytest.approx(total, abs=CLOSE)


def test_texts_through_the_command(scoreline: Command, tmp_path: Path) -> None:
    """A generating bundle writes words, numbers and whether each text ended; the empty text is valid."""
    torch.manual_seed(2)
    model, rows = Goes().eval(), lists_of_tokens(40, seed=3)
    write(table("ints", rows), tmp_path)
    save_described(
        tmp_path / "b", model, features=["x"], sample=table("ints", rows), task="generation", labels=TOKENS,
        sequences={"x": {"longest": 20}}, generate={"end": "</s>", "steps": 3, "beams": 64},
    )  # fmt: skip
    done = score(scoreline, tmp_path / "b", tmp_path, "--batch-size", 7)
    assert done.code == 0, done.err
    got = read(tmp_path)
    assert got.schema.names == ["id", "prediction", "log_probability", "score", "ended"]
    step = [nexts(model, row, start=None, mask=None) for row in rows]
    check_texts(got, [likeliest(one, end=1, steps=3, length_penalty=0.0) for one in step], TOKENS, 1)
    assert scoreline("verify", tmp_path / "out").code == 0
