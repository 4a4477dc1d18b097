"""Arguments of forward that a bundle does not pass, or passes in another order."""

import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from torch import Tensor, nn

from scoreline import Multiclass, Table, Tokens, TokenSequence, save_bundle
from text_tokenizers import SENTENCES, need_tokenizers, own_tokenizer

need_tokenizers()
LABELS = Multiclass(["a", "b", "c"])
SAMPLE = pa.table({"text": SENTENCES, "steps": [[1, 2]] * len(SENTENCES), "n": [1.0] * len(SENTENCES)})
TEXT = {"columns": "text", "tokenizer": own_tokenizer("wordpiece", 40), "longest": 40}


class Masked(nn.Module):
    """Takes tokens and their mask."""

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return (tokens * mask).float().sum(1, keepdim=True).repeat(1, 3)


class Typed(nn.Module):
    """Takes tokens, their mask and their types, and a table."""

    def forward(self, tokens: Tensor, mask: Tensor, types: Tensor, table: Tensor) -> Tensor:
        return (tokens * mask + types).float().sum(1, keepdim=True).repeat(1, 3) + table


class Swapped(nn.Module):
    """Takes the types before the mask."""

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return input_ids.float().mean(1, keepdim=True).repeat(1, 3)


ATTENTION = "set mask='attention' (1 for real tokens, 0 for padding), 'real', 'padding' or 'lengths' in input 'ids'"
TYPES = "types=True (the types of the tokens) in input 'ids'"


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (
            Masked(),
            {"ids": Tokens(**TEXT)},
            "takes 2 arguments (tokens, mask), but the bundle passes 1 (ids); set mask",
        ),
        (Masked(), {"ids": Tokens(**TEXT)}, ATTENTION),
        (Masked(), {"ids": TokenSequence("steps", longest=4)}, "set mask='real' (true for real steps), 'padding' or"),
        (Typed(), {"ids": Tokens(**TEXT), "table": Table(["n"])}, f"{ATTENTION} and {TYPES}"),
        (Typed(), {"ids": Tokens(**TEXT, mask="attention"), "table": Table(["n"])}, f"; set {TYPES}"),
    ],
)
def test_a_mask_that_is_not_passed(tmp_path: Path, model: nn.Module, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError) as caught:
        save_bundle(tmp_path / "b", model, inputs=inputs, task=LABELS, sample=SAMPLE)
    assert message in str(caught.value)


def test_a_file_that_needs_a_mask(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but still in use
        torch.jit.script(Masked()).save(str(tmp_path / "model.pt"))
    with pytest.raises(BundleError, match=r"takes 2 arguments \(tokens, mask\), .* set mask='attention'"):
        save_bundle(tmp_path / "b", tmp_path / "model.pt", inputs={"ids": Tokens(**TEXT)}, task=LABELS, sample=SAMPLE)


def test_arguments_in_another_order(tmp_path: Path) -> None:
    """They would be mistaken for each other, since both are int64 of the same shape."""
    inputs = {"input_ids": Tokens(**TEXT, mask="attention", types=True)}
    with pytest.raises(BundleError, match=r"forward takes attention_mask as argument 3, but input 'input_ids' passes"):
        save_bundle(tmp_path / "b", Swapped(), inputs=inputs, task=LABELS, sample=SAMPLE)
