"""Texts token by token, compared with an argmax loop in plain Python; what a step model is given and may return."""

from typing import Any

import pytest
import torch
from scoreline.pipeline.errors import BundleError, StoppedError
from scoreline.pipeline.model.generate import generate
from scoreline.pipeline.model.passes import Pass
from scoreline.pipeline.records import Sequences
from scoreline.schemas.heads import GENERATED, GenerationHead
from scoreline.schemas.inputs import SequenceInput, TableInput
from torch import Tensor, nn

VOCABULARY, END, START, STEPS = 6, 5, 0, 4
GENERATOR = torch.Generator().manual_seed(2)
BY_TOKEN = torch.randn(VOCABULARY, VOCABULARY, generator=GENERATOR)
BY_FEATURE = torch.randn(2, VOCABULARY, generator=GENERATOR)
X = torch.randn(7, 2, generator=GENERATOR) * 2
TABLE = TableInput(name="x", columns=["a", "b"])
HEAD = GenerationHead(outputs="logits", labels=list("abcdef"), start=START, end=END, steps=STEPS)


class Writer(nn.Module):
    """Scores of the next token from two numbers and the last token; `every`: after each token, not only the last."""

    def __init__(self, *, every: bool = False, change: Any = lambda scores: scores) -> None:
        super().__init__()
        self.every, self.change, self.shapes = every, change, []

    def forward(self, x: Tensor, so_far: Tensor) -> Tensor:
        self.shapes.append(tuple(so_far.shape))
        scores = BY_TOKEN[so_far] + (x @ BY_FEATURE)[:, None]
        return self.change(scores if self.every else scores[:, -1])


def texts(found: Sequences) -> list[list[int]]:
    """The tokens of each row."""
    rows = found.values.tensor_split(found.offsets[1:-1])
    return [row[:, 0].int().tolist() for row in rows]


def of_table(model: nn.Module, head: GenerationHead = HEAD, *, rows: int = 7, **options: Any) -> Sequences:
    """The texts for the first rows of the table."""
    one = Pass(positions=slice(0, rows), arguments={"x": X[:rows]})
    return generate(model, one, [TABLE], head, **{"call": "arguments", "pass_rows": 1000, **options})


def expected(row: int) -> tuple[list[int], list[float]]:
    """The likeliest token at each step, by the formula."""
    tokens, logs = [START], []
    while len(logs) < STEPS and (len(tokens) == 1 or tokens[-1] != END):
        scores = torch.log_softmax(BY_TOKEN[tokens[-1]].double() + X[row].double() @ BY_FEATURE.double(), dim=0)
        tokens.append(int(scores.argmax()))
        logs.append(float(scores.max()))
    return tokens[1:], logs


@pytest.mark.parametrize("every", [False, True])
def test_the_likeliest_tokens(every: bool) -> None:
    """Of a model that scores the next token, or the one after each token; with their log-probabilities."""
    found = of_table(Writer(every=every))
    assert texts(found) == [expected(row)[0] for row in range(7)]
    logs = torch.tensor([log for row in range(7) for log in expected(row)[1]])
    torch.testing.assert_close(found.values[:, 1], logs, rtol=1e-5, atol=1e-6)
    assert found.values.dtype == torch.float32
    assert len({len(text) for text in texts(found)}) > 1  # some end early


def test_the_model_is_given_what_was_generated() -> None:
    """It begins with the start; rows that have ended are not given again."""
    model = Writer()
    lengths = [len(text) for text in texts(of_table(model))]
    assert model.shapes[0] == (7, 1)
    for step, shape in enumerate(model.shapes):
        active = sum(length > step for length in lengths)
        assert shape == (max(2, active), step + 1)


def test_a_single_row_is_passed_twice() -> None:
    """So that a model that squeezes keeps its dimension."""
    model = Writer(change=torch.Tensor.squeeze)
    assert texts(of_table(model, rows=1)) == [expected(0)[0]]
    assert {shape[0] for shape in model.shapes} == {2}


@pytest.mark.parametrize("pass_rows", [1, 12, 18, 1000])
def test_texts_do_not_depend_on_the_size_of_passes(pass_rows: int) -> None:
    """A pass has no more rows than allowed for the longest text, but at least one."""
    model = Writer()
    beams = HEAD.model_copy(update={"beams": 3})
    found = of_table(model, beams, pass_rows=pass_rows)
    assert texts(found) == texts(of_table(Writer(), beams))
    assert max(shape[0] for shape in model.shapes) <= max(2, pass_rows // (2 + STEPS))


@pytest.mark.parametrize(
    ("outputs", "change"),
    [
        ("probabilities", lambda scores: scores.softmax(dim=-1)),
        ("log_probabilities", lambda scores: scores.log_softmax(dim=-1)),
        ("logits", lambda scores: scores.double()),
        ("logits", lambda scores: {"tokens": scores.argmax(-1), "scores": scores}),
    ],
)
def test_outputs_in_other_forms(outputs: str, change: Any) -> None:
    """The same texts and log-probabilities; one of several outputs by its name."""
    named = isinstance(change(BY_TOKEN), dict)
    head = HEAD.model_copy(update={"outputs": outputs, "output": "scores" if named else 0})
    found, plain = of_table(Writer(change=change), head), of_table(Writer())
    assert texts(found) == texts(plain)
    torch.testing.assert_close(found.values, plain.values, rtol=1e-4, atol=1e-5)


def test_a_dict_of_inputs() -> None:
    class ByName(Writer):
        def forward(self, given: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            return super().forward(given["x"], given[GENERATED])

    assert texts(of_table(ByName(), call="dict")) == texts(of_table(Writer()))


class TestContinuation:
    """A model without a start continues the tokens of a row."""

    LISTS = ((1, 2, 3), (4,), (2, 2))

    @pytest.mark.parametrize("mask", ["real", "padding", "lengths"])
    def test_tokens_are_appended_to_each_row(self, mask: Any) -> None:
        """Behind its own last token, with padding after them; the mask grows with them."""
        seen: list[tuple[Tensor, Tensor]] = []

        class Continues(nn.Module):
            def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
                seen.append((tokens, there))
                return BY_TOKEN[tokens.clamp(max=VOCABULARY - 1)]

        entry = SequenceInput(name="t", columns=["t"], longest=9, mask=mask, pad=99)
        lengths = torch.tensor([len(tokens) for tokens in self.LISTS])
        padded = torch.tensor([[*tokens, *[99] * (3 - len(tokens))] for tokens in self.LISTS])
        one = Pass(positions=slice(0, 3), arguments={"t": padded}, lengths=lengths, width=3)
        head = GenerationHead(outputs="logits", labels=list("abcdef"), end=END, steps=STEPS)
        found = texts(generate(Continues(), one, [entry], head, call="arguments", pass_rows=100))

        for tokens, text in zip(self.LISTS, found, strict=True):
            last, wanted = tokens[-1], []
            while len(wanted) < STEPS and (not wanted or wanted[-1] != END):
                last = int(BY_TOKEN[last].argmax())
                wanted.append(last)
            assert text == wanted
        given, there = seen[1] if len(seen) > 1 else seen[0]
        rows = [row for row in range(3) if len(found[row]) > 1]
        for index, row in enumerate(rows):
            tokens = [*self.LISTS[row], found[row][0]]
            assert given[index].tolist() == tokens + [99] * (4 - len(tokens))
            real = [step < len(tokens) for step in range(4)]
            value = {"real": real, "padding": [not step for step in real], "lengths": len(tokens)}[mask]
            assert there[index].tolist() == value


class TestRefusals:
    """Outputs that are not scores of the vocabulary, and a run that ends."""

    @pytest.mark.parametrize("shape", [(7, 5), (7,), (6, 6), (7, 2, 2, 6)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(BundleError) as error:
            of_table(Writer(change=lambda _: torch.zeros(shape)))
        assert str(error.value) == (
            f"the step model returns {list(shape)} for 7 rows and 6 tokens; it must return [rows, vocabulary], or"
            " [rows, steps, vocabulary]"
        )

    @pytest.mark.parametrize("outputs", ["probabilities", "log_probabilities"])
    def test_logits_that_are_called_something_else(self, outputs: str) -> None:
        """Negative probabilities have no logarithm, and are refused too."""
        with pytest.raises(BundleError) as error:
            of_table(Writer(), HEAD.model_copy(update={"outputs": outputs}))
        assert str(error.value) == (
            f"outputs is {outputs!r}, but those of the next token do not sum to 1; set outputs to 'logits' if they are"
            " logits"
        )

    @pytest.mark.parametrize(("factor", "accepted"), [(1.019, True), (1.021, False), (0.979, False)])
    def test_sums_may_differ_by_rounding(self, factor: float, accepted: bool) -> None:
        head = HEAD.model_copy(update={"outputs": "probabilities"})
        model = Writer(change=lambda scores: scores.softmax(dim=-1) * factor)
        if accepted:
            assert len(texts(of_table(model, head))) == 7
        else:
            with pytest.raises(BundleError, match="do not sum to 1"):
                of_table(model, head)

    def test_a_run_that_ends(self) -> None:
        """It is checked before every step."""
        model, calls = Writer(), []

        def stop() -> None:
            calls.append(None)
            if len(calls) == 2:
                raise StoppedError("the run has ended")

        with pytest.raises(StoppedError):
            of_table(model, check_stopped=stop)
        assert len(model.shapes) == 1
