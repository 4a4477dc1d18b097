"""Tokenizers trained on a few sentences, odd texts, and models of tokens."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Why the tests of text are skipped.
ABSENT = "tokenizers is not installed (pip install 'scoreline[text]')"
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Bücher, Straßen und Äpfel: 12 Stück zu 3,50 €!",
    "She sold sea shells; the shells she sold were surely sea shells, weren't they?",
    "naïve café — déjà vu … 2nd-hand (re)use of e-mail@example.org",
    "понедельник вторник среда 東京 は 晴れ 👍🏽 ok",
] * 4
WORDS = 300
KINDS = ("wordpiece", "bpe", "unigram")


@cache
def tokenizer_json(kind: str, **file: Any) -> str:
    """A tokenizer.json: lower-casing WordPiece with the types of BERT, byte-level BPE, or Unigram."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = {
        "wordpiece": (
            Tokenizer(models.WordPiece(unk_token="[UNK]")),  # type: ignore[call-arg]
            trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False),
        ),
        "bpe": (
            Tokenizer(models.BPE()),
            trainers.BpeTrainer(
                vocab_size=WORDS, special_tokens=special, show_progress=False,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            ),
        ),
        "unigram": (
            Tokenizer(models.Unigram()),
            trainers.UnigramTrainer(
                vocab_size=WORDS, special_tokens=special, unk_token="[UNK]", show_progress=False
            ),
        ),
    }  # fmt: skip
    tokenizer, trainer = made[kind]
    if kind == "wordpiece":
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "bpe":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, tokenizer.token_to_id(word)) for word in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_padding(length=64, pad_id=0, pad_token="[PAD]")  # as many published files do
    tokenizer.enable_truncation(16, direction="left" if kind == "bpe" else "right")
    return tokenizer.to_str()


def own_tokenizer(kind: str, longest: int) -> Tokenizer:
    """The library's own tokenizer, which cuts at `longest` and does not pad."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json(kind))
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest, direction=tokenizer.truncation["direction"])  # type: ignore[index]
    return tokenizer


def odd_pairs(number: int) -> list[list[str]]:
    """Odd texts and the same in reverse order, cut to a length: with each window of one text the library returns each
    window of the other, which takes seconds for a text of 20,000 characters."""
    texts = [text[:2_000] for text in odd_texts(number)]
    return [texts, texts[::-1]]


def odd_texts(number: int) -> list[str]:
    """Texts of emoji, control characters, combining marks, several scripts, spaces and zero bytes; empty and long."""
    draw = random.Random(0)
    pools = [
        "abcdefghij XYZ.,-'!",
        " \t\n\r\u00a0\u2003\u200b\ufeff",
        "👍🏽👩‍👩‍👧‍👦🇩🇪🏳️‍🌈",
        "e\u0301a\u0308\u0323o\u20dd\u0300",
        "שלום عليكم \u202e\u200f",
        "\x00\x01\x1b\x7f\x9f\u2028",
        "東京は晴れ한국어ไทย",
        "ﬁﬂ①Ⅷ½ﷺİıßẞſ",
        "\U0010ffff\ufffd\ue000\ufdd0",
        "[CLS][SEP][PAD]##▁Ġ<s>",
        "0123456789€%",
    ]
    texts = ["", " ", "\x00", "[SEP]", "a" * 20_000, "a " * 9_000, "👍" * 3_000, "e" + "\u0301" * 500]
    while len(texts) < number:
        chosen = draw.sample(pools, draw.randint(1, 4))
        size = draw.choice([1, 2, 5, 20, 80, 400])
        texts.append("".join(draw.choice(draw.choice(chosen)) for _ in range(draw.randint(0, size))))
    return texts


class Reader(nn.Module):
    """A score for each class, from the mean of the real tokens and of their types, by their position."""

    def __init__(self, *, types: bool = False) -> None:
        super().__init__()
        self.words, self.places, self.end = nn.Embedding(WORDS, 16), nn.Embedding(512, 16), nn.Linear(16, 3)
        self.kinds = nn.Embedding(2, 16) if types else None

    def read(self, ids: Tensor, there: Tensor, types: Tensor | None) -> Tensor:
        share = there.unsqueeze(-1).float()
        given = self.words(ids) * torch.sigmoid(self.places(there.long().cumsum(1)))
        if self.kinds is not None:
            given = given + self.kinds(types)
        return 3 * self.end((given * share).sum(1) / share.sum(1).clamp(min=1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.read(input_ids, attention_mask, None)


class TypedReader(Reader):
    """The same with types."""

    def __init__(self) -> None:
        super().__init__(types=True)

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> Tensor:
        return self.read(input_ids, attention_mask, token_type_ids)


def reader(*, types: bool = False) -> Reader:
    """A model with fixed weights."""
    torch.manual_seed(5)
    return (TypedReader() if types else Reader()).eval()


def probabilities(model: nn.Module, encodings: list[Any], *, types: bool = False) -> Tensor:
    """The model's probabilities for each text alone, without padding."""
    found = []
    for one in encodings:
        arguments = [torch.tensor([one.ids]), torch.tensor([one.attention_mask])]
        arguments += [torch.tensor([one.type_ids])] if types else []
        with torch.inference_mode():
            found.append(model(*arguments).softmax(1))
    return torch.cat(found)


def scored(rows: pa.Table) -> Tensor:
    """The probabilities that were written."""
    names = [name for name in rows.schema.names if name.startswith("probability_")]
    return torch.tensor([rows.column(name).to_pylist() for name in names]).T


def need_tokenizers() -> None:
    """Skip the tests of a file where the library is not installed."""
    pytest.importorskip("tokenizers", reason=ABSENT)
