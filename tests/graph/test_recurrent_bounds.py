"""Recurrent operators with arguments that do not fit together are refused before they run: torch reads beyond them."""

from typing import Any

import pytest
import torch
from scoreline.pipeline.graph.operator_bounds import most_numbers_of_operator
from scoreline.pipeline.graph.operators import operators
from torch import nn

KINDS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN}
WIDTH, HIDDEN, ROWS, STEPS = 3, 4, 5, 7


def call(kind: str, **options: Any) -> list[Any]:
    """The arguments with which a layer calls its operator."""
    layer = KINDS[kind](WIDTH, HIDDEN, **{"batch_first": True, **options})
    cells = layer.num_layers * (2 if layer.bidirectional else 1)
    states = [torch.zeros(cells, ROWS, layer.proj_size or HIDDEN), torch.zeros(cells, ROWS, HIDDEN)]
    sequence = torch.randn((ROWS, STEPS, WIDTH) if layer.batch_first else (STEPS, ROWS, WIDTH))
    flags = [layer.bias, layer.num_layers, 0.0, False, layer.bidirectional, layer.batch_first]
    return [sequence, states if kind == "lstm" else states[0], list(layer._flat_weights), *flags]  # type: ignore[arg-type]


def bound(kind: str, args: list[Any]) -> int:
    return most_numbers_of_operator(operators()[f"aten.{kind}.input"], kind, args, {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 3, "bidirectional": True}, {"bias": False}, {"batch_first": False, "bidirectional": True}],
    ids=str,
)
def test_what_a_layer_passes_is_accepted(kind: str, options: dict[str, Any]) -> None:
    """And every result is within the bound."""
    args = call(kind, **options)
    with torch.inference_mode():
        made = operators()[f"aten.{kind}.input"](*args)
    assert max(result.numel() for result in made) <= bound(kind, args)


def test_projections_are_accepted() -> None:
    assert bound("lstm", call("lstm", proj_size=2, num_layers=2, bidirectional=True)) >= ROWS * STEPS * 4 * HIDDEN


def test_long_sequences_take_no_time() -> None:
    """On the meta device, torch would take a minute for these."""
    args = call("lstm")
    args[0] = torch.empty(1, 1 << 20, WIDTH, device="meta")
    args[1] = [torch.zeros(1, 1, HIDDEN)] * 2
    assert bound("lstm", args) == (1 << 20) * 4 * HIDDEN + 2 * HIDDEN


WRONG: dict[str, tuple[int, int | None, torch.Tensor]] = {
    "a state of one row": (1, 1, torch.zeros(1, 1, HIDDEN)),
    "a narrow state": (1, 0, torch.zeros(1, ROWS, 1)),
    "weights of the state that are too small": (2, 1, torch.zeros(1, 1)),
    "weights of the input that are too small": (2, 0, torch.zeros(1, 1)),
    "an empty bias": (2, 2, torch.zeros(0)),
    "a bias of one number": (2, 3, torch.zeros(1)),
    "weights of another dtype": (2, 0, torch.zeros(16, WIDTH, dtype=torch.float64)),
    "a sequence without rows": (0, None, torch.zeros(0, STEPS, WIDTH)),
    "a wide sequence": (0, None, torch.zeros(ROWS, STEPS, 9)),
    "rows without steps": (0, None, torch.zeros(ROWS, WIDTH)),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_that_do_not_fit_are_refused(name: str) -> None:
    """Before the operator runs; several of these end the process with a segmentation fault."""
    at, entry, tensor = WRONG[name]
    args = call("lstm")
    if entry is None:
        args[at] = tensor
    else:
        args[at][entry] = tensor
    with pytest.raises(ValueError, match=r"^lstm "):
        bound("lstm", args)


@pytest.mark.parametrize("layers", [0, -1, 2, 2**40])
def test_numbers_of_layers_without_weights_are_refused(layers: int) -> None:
    args = call("gru")
    args[4] = layers
    with pytest.raises(ValueError, match=r"^gru has 1 states and 4 weights|^gru has 2 weights"):
        bound("gru", args)
