"""Greedy and beam search compared with exhaustive search, an argmax loop, and a beam search in plain Python."""

import itertools
import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.model.search import search
from scoreline.pipeline.records import Sequences
from torch import Tensor

Text = list[tuple[int, float]]
NaN, INF = math.nan, math.inf


class Table:
    """Log-probabilities `[rows, nodes, vocabulary]` of the next token after every prefix. It is itself a step, which
    records its calls and refuses invalid ones."""

    def __init__(self, logs: Tensor, *, end: int = 0, rows: Sequence[int] | None = None) -> None:
        self.logs, self.end = logs, end
        self.rows = list(range(len(logs))) if rows is None else list(rows)
        self.width = logs.shape[2]
        self.plain = logs.tolist()
        self.calls: list[list[tuple[int, tuple[int, ...]]]] = []

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, owners: Tensor) -> Tensor:
        assert (tokens.dtype, owners.dtype, tokens.shape[1]) == (torch.int64, torch.int64, len(self.calls))
        prefixes = [tuple(prefix) for prefix in tokens.tolist()]
        calls = list(zip(owners.tolist(), prefixes, strict=True))
        assert [owner for owner, _ in calls] == sorted(owner for owner, _ in calls)
        assert len(set(calls)) == len(calls) > 0
        assert not any(self.end in prefix for prefix in prefixes)
        self.calls.append(calls)
        nodes = torch.zeros(len(tokens), dtype=torch.int64)
        for column in tokens.unbind(1):
            nodes = nodes * self.width + column + 1
        return self.logs[torch.tensor(self.rows)[owners], nodes]

    def after(self, row: int, prefix: Sequence[int]) -> list[float]:
        """The log-probabilities after a prefix, in plain Python."""
        node = 0
        for token in prefix:
            node = node * self.width + token + 1
        return self.plain[self.rows[row]][node]

    def spelled(self, row: int, tokens: Sequence[int]) -> Text:
        """Tokens with their log-probabilities."""
        return [(token, self.after(row, tokens[:index])[token]) for index, token in enumerate(tokens)]


def random_table(
    seed: int, *, rows: int, vocabulary: int, steps: int, forbidden: float = 0.0, few: bool = False
) -> Table:
    """Random tables. `forbidden`: the share of tokens that are -inf, sometimes all of a row. `few`: few different
    numbers, so that many texts are equally likely, to the last bit."""
    draw = torch.Generator().manual_seed(seed)
    shape = (rows, sum(vocabulary**depth for depth in range(steps)), vocabulary)
    logits = 2 * torch.randn(shape, generator=draw)
    logs = -torch.randint(1, 4, shape, generator=draw).float() if few else torch.log_softmax(logits, dim=-1)
    logs[torch.rand(shape, generator=draw) < forbidden] = -INF
    return Table(logs, end=seed % vocabulary)


def texts(found: Sequences) -> list[Text]:
    """The texts by row, after checks that hold for every result."""
    assert (found.values.dtype, found.offsets.dtype) == (torch.float32, torch.int64)
    offsets = found.offsets.tolist()
    assert offsets[0] == 0
    assert found.values.shape == (offsets[-1], 2)
    values = [(int(token), log) for token, log in found.values.tolist()]
    return [values[start:stop] for start, stop in itertools.pairwise(offsets)]


def run(table: Table, *, steps: int, beams: int, length_penalty: float = 0.0) -> list[Text]:
    """Run a search on the table, with an empty record of calls."""
    table.calls = []
    rows = len(table.rows)
    return texts(search(table, rows=rows, end=table.end, steps=steps, beams=beams, length_penalty=length_penalty))


def score(text: Text, length_penalty: float) -> float:
    """The score by which texts are compared."""
    return sum(log for _, log in text) / len(text) ** length_penalty


def every_text(table: Table, row: int, steps: int) -> Iterator[Text]:
    """Every text that ends or is cut."""
    others = [token for token in range(table.width) if token != table.end]
    for length in range(1, steps + 1):
        for prefix in itertools.product(others, repeat=length - 1):
            yield table.spelled(row, [*prefix, table.end])
    for whole in itertools.product(others, repeat=steps):
        yield table.spelled(row, whole)


def plain_greedy(table: Table, row: int, steps: int) -> Text:
    """An argmax loop."""
    tokens: list[int] = []
    while len(tokens) < steps and tokens[-1:] != [table.end]:
        logs = table.after(row, tokens)
        tokens.append(logs.index(max(logs)))
    return table.spelled(row, tokens)


def plain_beam(table: Table, row: int, *, steps: int, beams: int, length_penalty: float) -> Text:
    """Beam search by its definition, always to the last step."""
    best: tuple[float, list[int]] | None = None
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for length in range(1, steps + 1):
        going: list[tuple[float, list[int]]] = []
        for total, tokens in kept:
            logs = table.after(row, tokens)
            for token in [table.end, *(token for token in range(table.width) if token != table.end)]:
                text = (total + logs[token], [*tokens, token])
                score = text[0] / length**length_penalty
                if (token == table.end or length == steps) and (best is None or score > best[0]):
                    best = (score, text[1])
                if token != table.end and text[0] > -INF:
                    going.append(text)
        kept = sorted(going, key=lambda text: -text[0])[:beams]  # a stable sort
    assert best is not None
    return table.spelled(row, best[1])


tables = st.builds(
    random_table,
    st.integers(0, 10**6),
    rows=st.integers(1, 3),
    vocabulary=st.integers(2, 4),
    steps=st.just(5),
    forbidden=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    few=st.booleans(),
)
penalties = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0, 2))


@given(tables, st.integers(1, 4), penalties)
def test_wide_beams_find_the_best_text(table: Table, steps: int, length_penalty: float) -> None:
    """Of all texts, with a beam for every prefix."""
    for row, text in enumerate(run(table, steps=steps, beams=max(2, 3**steps), length_penalty=length_penalty)):
        best = max(score(other, length_penalty) for other in every_text(table, row, steps))
        assert text in list(every_text(table, row, steps))
        assert score(text, length_penalty) == pytest.approx(best, rel=1e-12)


@given(tables, st.integers(1, 5), st.integers(2, 6), penalties)
def test_beam_search_agrees_with_its_definition(table: Table, steps: int, beams: int, length_penalty: float) -> None:
    """The texts are those of plain Python, which neither ends early nor drops a prefix, including ties. No step gets
    more prefixes of a row than there are beams, or an impossible one."""
    found = run(table, steps=steps, beams=beams, length_penalty=length_penalty)
    assert len(found) == len(table.rows)
    for row, text in enumerate(found):
        assert text == plain_beam(table, row, steps=steps, beams=beams, length_penalty=length_penalty)
    for calls in table.calls:
        for row in range(len(found)):
            prefixes = [prefix for owner, prefix in calls if owner == row]
            assert len(prefixes) <= beams
            assert all(log > -INF for prefix in prefixes for _, log in table.spelled(row, prefix))


@given(tables, st.integers(1, 5), penalties)
def test_one_beam_is_an_argmax_loop(table: Table, steps: int, length_penalty: float) -> None:
    """With any length penalty."""
    found = run(table, steps=steps, beams=1, length_penalty=length_penalty)
    assert found == [plain_greedy(table, row, steps) for row in range(len(table.rows))]


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_rows_are_independent(beams: int) -> None:
    """Alone, in another order, and repeated, they have identical results."""
    table = random_table(5, rows=8, vocabulary=4, steps=4, forbidden=0.2)
    together = run(table, steps=4, beams=beams, length_penalty=0.7)
    assert len({len(text) for text in together}) > 1
    order = [7, 3, 3, 0, 5]
    assert run(Table(table.logs, end=1, rows=order), steps=4, beams=beams, length_penalty=0.7) == [
        together[row] for row in order
    ]
    for row, text in enumerate(together):
        assert run(Table(table.logs, end=1, rows=[row]), steps=4, beams=beams, length_penalty=0.7) == [text]


@pytest.mark.parametrize("beams", [1, 4])
def test_final_rows_are_not_searched_further(beams: int) -> None:
    """The row that ends at once is final after the first step, the other is searched to the last step."""
    logs = torch.log(torch.tensor([[0.98, 0.01, 0.01], [0.01, 0.495, 0.495]]))[:, None].expand(-1, 40, -1)
    table = Table(logs)
    first, second = run(table, steps=4, beams=beams, length_penalty=1.0)
    assert [[owner for owner, _ in calls] for calls in table.calls] == [
        [0, 1], [1] * min(beams, 2), [1] * min(beams, 4), [1] * min(beams, 8),
    ]  # fmt: skip
    assert ([token for token, _ in first], len(second)) == ([0], 4)
    run(Table(logs, rows=[0]), steps=4, beams=beams, length_penalty=1.0)
    alone = Table(logs, rows=[0, 0])
    run(alone, steps=4, beams=beams, length_penalty=1.0)
    assert len(alone.calls) == 1


@pytest.mark.parametrize(("length_penalty", "calls", "tokens"), [(0.0, 1, [0]), (1.0, 3, [1, 1, 1])])
def test_a_row_is_searched_while_a_longer_text_can_win(length_penalty: float, calls: int, tokens: list[int]) -> None:
    """The second prefix is less likely than the text found, but wins with its length."""
    logs = torch.tensor([-0.9, -1.0, -INF]).repeat(1, 13, 1)
    logs[:, 1:] = torch.tensor([-1.0, -0.1, -INF])
    table = Table(logs)
    (text,) = run(table, steps=3, beams=2, length_penalty=length_penalty)
    assert ([token for token, _ in text], len(table.calls)) == (tokens, calls)


@pytest.mark.parametrize(
    ("likely", "prefixes"),
    [
        ({}, [0, 1, 2, 3]),
        (dict.fromkeys(range(0, 5000, 500), -2.0), [0, 500, 1500, 2000]),
        ({4000: -0.1, 3000: -0.2, 2000: -0.3, 1000: -0.4}, [4000, 3000, 2000, 0]),
        ({4000: -0.2, 3000: -0.1, 2000: -0.2, 300: -0.2, 4999: -0.3, 5: -0.4}, [3000, 300, 2000, 4000]),
    ],
)
def test_ties_in_a_large_vocabulary(likely: dict[int, float], prefixes: list[int]) -> None:
    """The lowest tokens are followed, not those that `topk` happens to return."""
    calls: list[list[list[int]]] = []

    def step(tokens: Tensor, owners: Tensor) -> Tensor:
        calls.append(tokens.tolist())
        logs = torch.full((len(tokens), 5000), -3.0)
        for token, log in likely.items():
            logs[:, token] = log
        return logs

    search(step, rows=1, end=1000, steps=2, beams=4, length_penalty=8.0)
    assert calls == [[[]], [[token] for token in prefixes]]


def test_prefixes_that_cannot_win_are_dropped() -> None:
    """Prefixes whose bound is not above the score found."""
    table = Table(torch.tensor([-1.0, -0.7, -1.2]).repeat(1, 13, 1))
    run(table, steps=2, beams=4, length_penalty=0.0)
    assert table.calls == [[(0, ())], [(0, (1,))]]


def test_the_shortest_of_equal_texts_wins() -> None:
    """Then a text that ends wins over one that is cut."""
    table = Table(torch.tensor([-2.0, -1.0]).repeat(1, 7, 1))
    table.logs[0, 2] = -1.0  # after the other token
    assert run(table, steps=2, beams=2, length_penalty=0.0) == [[(0, -2.0)]]
    table.logs[0, 0, 0] = -9.0
    assert run(table, steps=2, beams=2, length_penalty=0.0) == [[(1, -1.0), (0, -1.0)]]


def test_sums_are_exact() -> None:
    """The likelier of two texts wins even if float32 cannot distinguish them."""
    logs = torch.tensor([-INF, -1000.0, -1000.0]).repeat(1, 13, 1)
    logs[0, 2, 1], logs[0, 3, 1] = -2e-6, -1e-6
    (text,) = run(Table(logs), steps=2, beams=2, length_penalty=0.0)
    assert [token for token, _ in text] == [2, 1]


@pytest.mark.parametrize("beams", [1, 2, 5])
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("depth", [0, 1])
def test_nan_stays_in_its_row(beams: int, index: int, depth: int) -> None:
    """It ends the text of its row, at any token including `end`; the other rows are unchanged."""
    clean = random_table(3, rows=3, vocabulary=3, steps=4)
    clean.logs[:, 0] = torch.tensor([-4.0, -0.5, -1.5])  # which is not final after the first step
    wanted = run(Table(clean.logs), steps=4, beams=beams, length_penalty=1.0)
    spoilt = clean.logs.clone()
    spoilt[1, 0 if depth == 0 else 2, index] = NaN
    table = Table(spoilt)
    found = run(table, steps=4, beams=beams, length_penalty=1.0)
    assert (found[0], found[2]) == (wanted[0], wanted[2])
    assert len(found[1]) == depth + 1
    assert [math.isnan(log) for _, log in found[1]] == [False] * depth + [True]
    assert all(owner != 1 for calls in table.calls[depth + 1 :] for owner, _ in calls)


def test_nan_after_an_impossible_prefix() -> None:
    """The prefix is not followed, so a softmax over nothing but -inf affects no row."""
    logs = torch.tensor([-5.0, -0.1, -INF]).repeat(1, 13, 1)
    logs[:, 3] = NaN  # after the third token
    (text,) = run(Table(logs), steps=3, beams=4, length_penalty=1.0)
    assert [token for token, _ in text] == [1, 1, 1]


@pytest.mark.parametrize("beams", [2, 3])
def test_no_token_is_possible(beams: int) -> None:
    """The first of ties wins: `end`, at once."""
    table = Table(torch.full((2, 13, 3), -INF), end=2)
    assert run(table, steps=3, beams=beams, length_penalty=1.0) == [[(2, -INF)]] * 2
    assert len(table.calls) == 1


@pytest.mark.parametrize("beams", [1, 3])
def test_the_smallest_inputs(beams: int) -> None:
    """No rows, a vocabulary with only `end`, a single step."""
    assert run(Table(torch.zeros(0, 1, 2)), steps=3, beams=beams) == []
    assert run(Table(torch.zeros(2, 1, 1)), steps=3, beams=beams) == [[(0, 0.0)]] * 2
    assert run(Table(torch.tensor([[[-1.0, -0.5]], [[-0.5, -1.0]]])), steps=1, beams=beams) == [
        [(1, -0.5)],
        [(0, -0.5)],
    ]


def test_a_very_large_length_penalty() -> None:
    """A power that overflows makes long texts equal, and no impossible text NaN."""
    logs = torch.tensor([-INF, -0.5]).repeat(1, 7, 1)
    logs[0, 0, 0] = -1.0
    assert run(Table(logs), steps=3, beams=2, length_penalty=1e6) == [[(1, -0.5)] * 3]


@pytest.mark.parametrize("beams", [1, 3])
def test_large_tokens(beams: int) -> None:
    """Tokens from a vocabulary of thousands are returned exactly."""
    wanted = [[40_001, 39_999, 7], [12, 7]]

    def step(tokens: Tensor, owners: Tensor) -> Tensor:
        logs = torch.full((len(tokens), 50_000), -20.0)
        for index, owner in enumerate(owners.tolist()):
            logs[index, wanted[owner][tokens.shape[1]] if tokens.shape[1] < len(wanted[owner]) else 7] = -0.01
        return logs

    found = texts(search(step, rows=2, end=7, steps=6, beams=beams, length_penalty=0.0))
    assert [[token for token, _ in text] for text in found] == wanted
