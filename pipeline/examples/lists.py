"""Sequence examples: tagging words, and converting spelled-out numbers to digits."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ...schemas.specs.inputs import TokenSequence
from ...schemas.specs.tasks import Generation, Tagging
from ..saving.save import save_bundle
from .example import Example, frame_of

_PEOPLE, _PLACES = ["anna", "ben", "carla", "paris", "florence"], ["berlin", "rome", "paris", "florence", "oslo"]
_GOODS, _NUMBERS = ["pears", "books", "lamps", "ropes"], ["two", "three", "ten", "forty"]


_TAGS = ["other", "number", "good", "person", "place"]
_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def _orders(number: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Orders as lists of words, with a tag for each; paris and florence are people after `to`, places after `in`."""
    import random

    draw = random.Random(seed)
    texts, tags = [], []
    for _ in range(number):
        text = ["please"] * draw.randint(0, 2)
        labels = ["other"] * len(text)
        for _ in range(draw.randint(1, 3)):
            text += ["send", draw.choice(_NUMBERS), draw.choice(_GOODS), "to", draw.choice(_PEOPLE)]
            labels += ["other", "number", "good", "other", "person"]
            if draw.random() < 0.6:
                text += ["in", draw.choice(_PLACES)]
                labels += ["other", "place"]
            text, labels = [*text, "and"], [*labels, "other"]
        texts.append(text[:-1])
        tags.append(labels[:-1])
    return texts, tags


class _Tagger(nn.Module):
    """A bidirectional network that tags each word."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table, self.both = nn.Embedding(words, 24), nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, len(_TAGS))

    def forward(self, tokens: Tensor) -> Tensor:
        found, _ = self.both(self.table(tokens))
        scores: Tensor = self.out(found)
        return scores


def sequence(bundle: Path) -> Example:
    """Synthetic orders as lists of words: a tag for each word, with a bidirectional network."""
    texts, tags = _orders(300, seed=0)
    words = sorted({word for text in texts for word in text})
    torch.manual_seed(0)
    model = _Tagger(len(words))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    lengths = sorted({len(text) for text in texts})
    for _ in range(8):
        for length in lengths:
            alike = [index for index, text in enumerate(texts) if len(text) == length]
            tokens = torch.tensor([[words.index(word) for word in texts[index]] for index in alike])
            target = torch.tensor([[_TAGS.index(tag) for tag in tags[index]] for index in alike])
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(tokens).flatten(0, 1), target.flatten()))
            optimizer.step()
    save_bundle(
        bundle,
        model.eval(),
        inputs=TokenSequence("text", vocabulary=words, longest=60),
        task=Tagging(_TAGS),
        sample=frame_of({"text": texts[:100]}),
    )
    texts, tags = _orders(400, seed=1)
    return Example(name="orders", frame=frame_of({"text": texts, "true_tags": tags}), truth=["true_tags"])


def _in_words(number: int) -> list[str]:
    """342 → three hundred forty two."""
    hundreds, rest = divmod(number, 100)
    words = [_DIGITS[hundreds], "hundred"] if hundreds else []
    if 10 <= rest < 20:
        words.append(_TEENS[rest - 10])
    elif rest:
        words += [_TENS[rest // 10]] if rest >= 20 else []
        words += [_DIGITS[rest % 10]] if rest % 10 else []
    return words or ["zero"]


class _Speller(nn.Module):
    """Encodes all words, and generates digits one by one, each from the preceding ones."""

    def __init__(self, words: int, digits: int) -> None:
        super().__init__()
        self.words, self.reader = nn.Embedding(words, 32), nn.GRU(32, 64, batch_first=True)
        self.digits, self.writer = nn.Embedding(digits, 64), nn.GRU(64, 64, batch_first=True)
        self.out = nn.Linear(64, digits)

    def forward(self, tokens: Tensor, lengths: Tensor, written: Tensor) -> Tensor:
        states, _ = self.reader(self.words(tokens))
        read = states.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, 64))
        found, _ = self.writer(self.digits(written) + read)
        scores: Tensor = self.out(found)
        return scores


def generation(bundle: Path) -> Example:
    """Spelled-out numbers: generates their digits by beam search."""
    import random

    numbers = list(range(1000))
    random.Random(0).shuffle(numbers)
    # The model is surer of the numbers that it was trained on, so that its golden rows are others.
    train, golden, test = numbers[:736], numbers[736:800], numbers[800:]
    words = sorted({word for number in numbers for word in _in_words(number)})
    symbols = ["<start>", "<end>", *"0123456789"]
    torch.manual_seed(0)
    model = _Speller(len(words), len(symbols))
    texts, digits = [_in_words(number) for number in train], [list(str(number)) for number in train]
    lengths = torch.tensor([len(text) for text in texts])
    tokens = torch.tensor([[words.index(word) for word in text] + [0] * (6 - len(text)) for text in texts])
    target = torch.tensor([[symbols.index(d) for d in text] + [1] * (4 - len(text)) for text in digits])
    written = torch.cat([torch.zeros(len(train), 1, dtype=torch.int64), target[:, :-1]], dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        raw = model(tokens, lengths, written)
        torch.autograd.backward(nn.functional.cross_entropy(raw.flatten(0, 1), target.flatten()))
        optimizer.step()
    save_bundle(
        bundle,
        model.eval(),
        inputs=TokenSequence("words", vocabulary=words, longest=6, mask="lengths"),
        task=Generation(symbols, start="<start>", end="<end>", steps=5, beams=3, length_penalty=0.6),
        sample=frame_of({"words": [_in_words(number) for number in golden]}),
    )
    frame = frame_of({"words": [_in_words(n) for n in test], "true_digits": [list(str(n)) for n in test]})
    return Example(name="numbers", frame=frame, truth=["true_digits"])
