"""Specs of text: tokenizers in their forms, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.errors import BundleError, ColumnError
from torch import Tensor, nn

from scoreline import Multiclass, Scorer, Table, Tokens, save_bundle
from text_tokenizers import (
    SENTENCES,
    WORDS,
    need_tokenizers,
    odd_texts,
    own_tokenizer,
    reader,
    scored,
    tokenizer_json,
)

need_tokenizers()
pytestmark = pytest.mark.usefixtures("one_core")

LABELS = Multiclass(["a", "b", "c"])
SAMPLE = pa.table({"text": SENTENCES, "number": [float(n) for n in range(len(SENTENCES))]})


def save(path: Path, model: nn.Module, sample: Any = SAMPLE, **fields: Any) -> str:
    spec = {"columns": "text", "tokenizer": own_tokenizer("wordpiece", 40), "longest": 40, "mask": "attention"}
    return save_bundle(path, model, inputs={"input_ids": Tokens(**{**spec, **fields})}, task=LABELS, sample=sample)


class Deaf(nn.Module):
    """Ignores its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.end = nn.Embedding(WORDS, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.end(self.words(input_ids).mean(1) + 0.0 * attention_mask.sum())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": ["a", "b", "c"]}, "has 3 columns; a tokenizer encodes one, or pairs of two"),
        ({"columns": "number"}, "column 'number' is float64, but Tokens takes text"),
        ({"columns": "none"}, "no column 'none'"),
        ({"tokenizer": 7}, "7 is not the path of a tokenizer.json"),
        ({"tokenizer": "/none/tokenizer.json"}, "tokenizer '/none/tokenizer.json' cannot be read: No such file"),
        ({"tokenizer": __file__}, "input 'input_ids': tokenizer is not a tokenizer.json: invalid type"),
        ({"longest": 2}, "adds 2 special tokens to each text, which leaves no room for others among longest 2"),
        ({"mask": None, "pad": 1}, "pad: 1 has no effect without mask"),
        ({"mask": "some"}, "'real', 'padding', 'lengths', 'attention'"),
        ({"too_long": "drop"}, "'cut', 'reject'"),
        ({"pad": WORDS}, "pad 300 (input 'input_ids') is outside the embedding's range 0–299; padded steps are"),
        ({"mask": None}, "; set mask='attention' (1 for real tokens, 0 for padding)"),
        ({"types": True}, "forward takes"),
        ({"longest": 3, "too_long": "reject"}, "none of the sample's rows can be scored; row 0: 'text' has "),
    ],
)
def test_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises((BundleError, ColumnError)) as caught:
        save(tmp_path / "b", reader(), **fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_a_model_that_ignores_its_mask(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(BundleError, match=r"changes with the padding after it"):
        save(tmp_path / "b", Deaf().eval())


def test_a_column_of_two_kinds(tmp_path: Path) -> None:
    inputs = {"x": Table(["text"]), "y": Tokens("text", tokenizer=own_tokenizer("bpe", 9), longest=9)}
    with pytest.raises(BundleError, match="column 'text' is used by Table and by Tokens"):
        save_bundle(tmp_path / "b", reader(), inputs=inputs, task=LABELS, sample=SAMPLE)


def test_a_tokenizer_with_python_code(tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    class Own:
        def pre_tokenize(self, text: Any) -> None:
            """Leave the text whole."""

    tokenizer = own_tokenizer("wordpiece", 40)
    tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Own())  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match=r"the tokenizer cannot be saved as data: Custom PreTokenizer"):
        save(tmp_path / "b", reader(), tokenizer=tokenizer)


def test_special_tokens_as_text(tmp_path: Path) -> None:
    tokenizer = own_tokenizer("wordpiece", 40)
    tokenizer.encode_special_tokens = True
    with pytest.raises(BundleError, match=r"which a tokenizer\.json does not store"):
        save(tmp_path / "b", reader(), tokenizer=tokenizer)


def test_a_tokenizer_that_is_called_otherwise(tmp_path: Path) -> None:
    """An object as those of transformers, whose call does more than its backend."""

    class Calling:
        backend_tokenizer = own_tokenizer("wordpiece", 40)
        truncation_side, pad_token_id, pad_token_type_id, pad_token = "right", 0, 0, "[PAD]"

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            found = self.backend_tokenizer.encode(text.replace("fox", "dog"))
            return {"input_ids": found.ids, "token_type_ids": found.type_ids}

    with pytest.raises(BundleError, match=r"the tokenizer gives other tokens when it is called"):
        save(tmp_path / "b", reader(), tokenizer=Calling())


@pytest.mark.parametrize(("padding", "pad"), [({"pad_id": 2, "pad_token": "[CLS]"}, 2), (None, 0)])
def test_the_token_for_padding(tmp_path: Path, padding: dict[str, Any] | None, pad: int) -> None:
    """That of the tokenizer's padding, or a token with a usual name."""
    tokenizer = own_tokenizer("wordpiece", 40)
    if padding is not None:
        tokenizer.enable_padding(**padding)
    save(tmp_path / "b", reader(), tokenizer=tokenizer)
    (entry,) = json.loads((tmp_path / "b" / "bundle.json").read_text())["inputs"]
    assert entry["pad"] == pad


def test_a_file_is_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(tokenizer_json("unigram"))
    save(tmp_path / "b", reader(), tokenizer=str(tmp_path / "t.json"))
    assert (tmp_path / "b" / "tokenizer.json").read_text() == tokenizer_json("unigram")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tokenizer_of_transformers(tmp_path: Path, side: str) -> None:
    """Texts are cut as calling it cuts them, and scores are those of its pipeline: tokenizer, then model."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (make models)")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own_tokenizer("wordpiece", 10), truncation_side=side, pad_token="[PAD]",
        unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
    )  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).eval()
    save(tmp_path / "b", model, tokenizer=tokenizer, longest=24, types=True)
    texts = odd_texts(200)
    got = scored(Scorer.load(tmp_path / "b", device="cpu").score_table(pa.table({"text": texts})))
    own = transformers.pipeline(
        "text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu", function_to_apply="softmax"
    )
    for text, row in zip(texts, got, strict=True):
        (answer,) = own([text], truncation=True, max_length=24)
        expected = {one["label"]: one["score"] for one in answer}
        torch.testing.assert_close(row, torch.tensor([expected[f"LABEL_{n}"] for n in range(3)]), rtol=0, atol=1e-5)
