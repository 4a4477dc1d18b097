"""Small networks trained on the data that ships with scikit-learn, saved as bundles: what the demo shows. Each takes
seconds; none is tuned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...schemas.specs.inputs import Image, TokenSequence
from ...schemas.specs.tasks import AnyTask, Binary, Generation, Multiclass, Multilabel, Regression, Tagging
from ..errors import UsageError
from ..saving.save import save_bundle

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

EPOCHS = 100
Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """`name`: of the bundle. `frame`: rows that the network has not seen, with what is right in the columns `truth`.
    `words`: what to add to `scoreline score`. `heads`: the head to evaluate, and its columns of `truth`."""

    name: str
    frame: "pd.DataFrame"
    truth: list[str]
    words: list[str] = field(default_factory=list)
    layout: str = "parquet"
    head: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """A data set in two parts, its features, and the scaler fitted to them."""

    train: "pd.DataFrame"
    test: "pd.DataFrame"
    features: list[str]
    scaler: Any

    def inputs(self) -> Tensor:
        """The training rows as the network takes them."""
        return torch.from_numpy(self.scaler.transform(self.train[self.features]).astype("float32"))

    def target(self, values: Any) -> Tensor:
        """A column of the training rows."""
        return torch.tensor(values.tolist())


def _data(name: str, *, stratify: bool = True) -> _Data:
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise UsageError("the demo needs scikit-learn; install it with: pip install 'scoreline[demo]'") from error
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    by = frame["target"] if stratify else None
    train, test = train_test_split(frame, test_size=0.4, random_state=0, stratify=by)
    features = [column for column in frame.columns if column != "target"]
    return _Data(train=train, test=test, features=features, scaler=StandardScaler().fit(train[features]))


def _net(inputs: int, outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.Linear(64, outputs))


def _train(model: nn.Module, data: _Data, target: Tensor, loss: Loss, epochs: int = EPOCHS) -> nn.Module:
    inputs = data.inputs()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.autograd.backward(loss(model(inputs), target))
        optimizer.step()
    return model.eval()


def _yes_no(raw: Tensor, target: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(raw.reshape(target.shape), target)


def _save(bundle: Path, model: nn.Module, data: _Data, *, task: AnyTask | dict[str, AnyTask]) -> None:
    save_bundle(bundle, model, features=data.features, scaler=data.scaler, sample=data.train, task=task)


def binary(bundle: Path) -> Example:
    """Breast cancer: malignant or benign, and how likely."""
    data, labels = _data("breast_cancer"), ["malignant", "benign"]
    model = _train(_net(30, 1), data, data.target(data.train["target"]).float(), _yes_no)
    _save(bundle, model, data, task=Binary(labels))
    return Example(name="breast_cancer", frame=_labelled(data, labels), truth=["true_label"])


def threshold(bundle: Path) -> Example:
    """Breast cancer, benign only where it is all but certain."""
    return replace(binary(bundle), name="threshold", words=["--threshold", "0.95"])


def multiclass(bundle: Path) -> Example:
    """Wine: one of three cultivars, as CSV."""
    data, labels = _data("wine"), ["class_0", "class_1", "class_2"]
    model = _train(_net(13, 3), data, data.target(data.train["target"]), nn.functional.cross_entropy)
    _save(bundle, model, data, task=Multiclass(labels))
    return Example(name="wine", frame=_labelled(data, labels), truth=["true_label"], layout="csv")


def top_k(bundle: Path) -> Example:
    """Handwritten digits: the three likeliest, each with its probability."""
    data = _data("digits")
    model = _train(_net(64, 10), data, data.target(data.train["target"]), nn.functional.cross_entropy, 40)
    _save(bundle, model, data, task=Multiclass(list(range(10))))
    words = ["--top-k", "3", "--probabilities", "none"]
    return Example(name="digits", frame=_labelled(data, list(range(10))), truth=["true_label"], words=words)


def multilabel(bundle: Path) -> Example:
    """Handwritten digits: even, above four, with a loop; any number of them at once."""
    data = _data("digits")
    model = _train(_net(64, 3), data, torch.from_numpy(_tags(data.train["target"])).float(), _yes_no, 40)
    _save(bundle, model, data, task=Multilabel(["even", "above_four", "loop"], threshold={"loop": 0.4}))
    tags = _tags(data.test["target"])
    truth = ["is_even", "is_above_four", "has_loop"]
    frame = data.test.drop(columns="target").assign(**{name: tags[:, at] for at, name in enumerate(truth)})
    return Example(name="digit_tags", frame=frame, truth=truth)


def regression(bundle: Path) -> Example:
    """Diabetes: how far it has progressed, in its own unit; predictions beyond what training has seen are counted."""
    from sklearn.preprocessing import StandardScaler

    data = _data("diabetes", stratify=False)
    unit = StandardScaler().fit(data.train[["target"]].to_numpy())
    target = torch.from_numpy(unit.transform(data.train[["target"]].to_numpy()).astype("float32"))
    model = _train(_net(10, 1), data, target, nn.functional.mse_loss, 40)
    seen = float(data.train["target"].min()), float(data.train["target"].max())
    _save(bundle, model, data, task=Regression(scaler=unit, bounds=seen))
    return Example(name="diabetes", frame=data.test.rename(columns={"target": "true_value"}), truth=["true_value"])


def quantiles(bundle: Path) -> Example:
    """Diabetes: a low, a middle and a high guess, by the pinball loss; the target was divided by 100."""
    data, wanted = _data("diabetes", stratify=False), torch.tensor([0.1, 0.5, 0.9])

    def pinball(raw: Tensor, target: Tensor) -> Tensor:
        apart = target - raw
        return torch.maximum(wanted * apart, (wanted - 1) * apart).mean()

    target = data.target(data.train["target"])[:, None].float() / 100
    model = _train(_net(10, 3), data, target, pinball)
    _save(bundle, model, data, task=Regression(quantiles=[0.1, 0.5, 0.9], scaler=100.0))
    frame = data.test.rename(columns={"target": "true_value"})
    return Example(name="diabetes_quantiles", frame=frame, truth=["true_value"])


def spread(bundle: Path) -> Example:
    """Diabetes: a mean and how sure it is, by the Gaussian likelihood."""
    data = _data("diabetes", stratify=False)

    def likelihood(raw: Tensor, target: Tensor) -> Tensor:
        return nn.functional.gaussian_nll_loss(raw[:, :1], target, torch.exp(raw[:, 1:]))

    target = data.target(data.train["target"])[:, None].float() / 100
    model = _train(_net(10, 2), data, target, likelihood, 40)
    _save(bundle, model, data, task=Regression(spread="log_variance", scaler=100.0))
    frame = data.test.rename(columns={"target": "true_value"})
    return Example(name="diabetes_spread", frame=frame, truth=["true_value"])


class _TwoHeads(nn.Module):
    """Which digit, and whether it is even, from one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.digit, self.even = nn.Linear(64, 64), nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        shared = torch.relu(self.trunk(pixels))
        return {"digit": self.digit(shared), "even": self.even(shared)}


def heads(bundle: Path) -> Example:
    """Handwritten digits: which one, and whether it is even, from one network with two heads."""
    data = _data("digits")

    def both(raw: dict[str, Tensor], target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(raw["digit"], target) + _yes_no(raw["even"][:, 0], (target % 2 == 0).float())

    torch.manual_seed(0)
    model = _train(_TwoHeads(), data, data.target(data.train["target"]), both, 40)
    tasks: dict[str, AnyTask] = {
        "digit": Multiclass(list(range(10)), output="digit"),
        "even": Binary(["odd", "even"], output="even"),
    }
    _save(bundle, model, data, task=tasks)
    frame = _labelled(data, list(range(10)))
    return Example(
        name="digit_heads", frame=frame, truth=["true_label"], words=["--probabilities", "none"], head="digit"
    )


def hidden(bundle: Path) -> Example:
    """Wine: what the network makes of a row before it decides, 64 numbers for each."""
    return replace(multiclass(bundle), name="wine_hidden", words=["--hidden", "1"], layout="parquet")


def explain(bundle: Path) -> Example:
    """Breast cancer: what each of the 30 features adds to the score of a row."""
    return replace(binary(bundle), name="explained", words=["--explain", "shapley"])


def overconfident(bundle: Path) -> Example:
    """Handwritten digits from too few rows for too long: a network that is surer than it should be."""
    data = _data("digits")
    few = replace(data, train=data.train.head(150))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    _train(model, few, few.target(few.train["target"]), nn.functional.cross_entropy, 200)
    _save(bundle, model, data, task=Multiclass(list(range(10))))
    return Example(name="overconfident", frame=_labelled(data, list(range(10))), truth=["true_label"])


class _DigitReader(nn.Module):
    """Two convolutions and one layer, over grey images of 8 × 8."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.second, self.pool = nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2)
        self.out = nn.Linear(32 * 2 * 2, 10)

    def forward(self, images: Tensor) -> Tensor:
        found = self.pool(torch.relu(self.norm(self.first(images))))
        scores: Tensor = self.out(self.pool(torch.relu(self.second(found))).flatten(1))
        return scores


def image(bundle: Path) -> Example:
    """Handwritten digits as PNG files, two of them broken, by a small convolutional network."""
    import numpy as np

    data = _data("digits")

    def files(frame: "pd.DataFrame") -> list[bytes]:
        pixels = (frame[data.features].to_numpy() * 255 / 16).round().astype(np.uint8).reshape(-1, 8, 8)
        return [_png(picture) for picture in pixels]

    torch.manual_seed(0)
    model = _DigitReader()
    shown = torch.tensor((data.train[data.features].to_numpy() * 255 / 16).round() / 255, dtype=torch.float32)
    target = data.target(data.train["target"])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model((shown.view(-1, 1, 8, 8) - 0.3) / 0.4), target))
        optimizer.step()
    save_bundle(
        bundle,
        model.eval(),
        inputs=Image("scan", size=(8, 8), channels=1, mean=[0.3], std=[0.4]),
        task=Multiclass(list(range(10))),
        sample=_frame({"scan": files(data.train.head(100))}),
    )
    scans = files(data.test)
    scans[7], scans[70] = scans[7][:60], b"not a picture"
    frame = _frame({"scan": scans, "true_label": data.test["target"].tolist()})
    words = ["--max-rejects", "2", "--probabilities", "none"]
    return Example(name="scans", frame=frame, truth=["true_label"], words=words)


def _png(pixels: Any) -> bytes:
    import io

    from ..features.images import require_pillow

    require_pillow()
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _frame(columns: dict[str, list[Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(columns)


_PEOPLE, _PLACES = ["anna", "ben", "carla", "paris", "florence"], ["berlin", "rome", "paris", "florence", "oslo"]
_GOODS, _NUMBERS = ["pears", "books", "lamps", "ropes"], ["two", "three", "ten", "forty"]
_TAGS = ["other", "number", "good", "person", "place"]


def _orders(number: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Orders in words, and what each word is; paris and florence are people behind `to` and places behind `in`."""
    import random

    draw = random.Random(seed)
    texts, tags = [], []
    for _ in range(number):
        text = ["please"] * draw.randint(0, 2)
        said = ["other"] * len(text)
        for _ in range(draw.randint(1, 3)):
            text += ["send", draw.choice(_NUMBERS), draw.choice(_GOODS), "to", draw.choice(_PEOPLE)]
            said += ["other", "number", "good", "other", "person"]
            if draw.random() < 0.6:
                text += ["in", draw.choice(_PLACES)]
                said += ["other", "place"]
            text, said = [*text, "and"], [*said, "other"]
        texts.append(text[:-1])
        tags.append(said[:-1])
    return texts, tags


class _Tagger(nn.Module):
    """Reads a text both ways, and says what each word is."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.table, self.both = nn.Embedding(words, 24), nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, len(_TAGS))

    def forward(self, tokens: Tensor) -> Tensor:
        found, _ = self.both(self.table(tokens))
        scores: Tensor = self.out(found)
        return scores


def sequence(bundle: Path) -> Example:
    """Orders in words, generated: what each word is, by a network that reads both ways."""
    texts, tags = _orders(300, seed=0)
    words = sorted({word for text in texts for word in text})
    torch.manual_seed(0)
    model = _Tagger(len(words))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    lengths = sorted({len(text) for text in texts})
    for _ in range(8):
        for length in lengths:
            alike = [place for place, text in enumerate(texts) if len(text) == length]
            tokens = torch.tensor([[words.index(word) for word in texts[place]] for place in alike])
            target = torch.tensor([[_TAGS.index(tag) for tag in tags[place]] for place in alike])
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(tokens).flatten(0, 1), target.flatten()))
            optimizer.step()
    save_bundle(
        bundle,
        model.eval(),
        inputs=TokenSequence("text", vocabulary=words, longest=60),
        task=Tagging(_TAGS),
        sample=_frame({"text": texts[:100]}),
    )
    texts, tags = _orders(400, seed=1)
    return Example(name="orders", frame=_frame({"text": texts, "true_tags": tags}), truth=["true_tags"])


_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


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
    """Reads words to their end, and writes digits one by one, each from all that stand before it."""

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
    """Numbers in words, generated: the digits that they are written with, by beam search."""
    import random

    numbers = list(range(1000))
    random.Random(0).shuffle(numbers)
    train, test = numbers[:800], numbers[800:]
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
        sample=_frame({"words": texts[:64]}),
    )
    frame = _frame({"words": [_in_words(n) for n in test], "true_digits": [list(str(n)) for n in test]})
    return Example(name="numbers", frame=frame, truth=["true_digits"])


EXAMPLES: dict[str, Callable[[Path], Example]] = {
    "binary": binary,
    "threshold": threshold,
    "multiclass": multiclass,
    "top-k": top_k,
    "multilabel": multilabel,
    "regression": regression,
    "quantiles": quantiles,
    "spread": spread,
    "heads": heads,
    "hidden": hidden,
    "explain": explain,
    "image": image,
    "sequence": sequence,
    "generation": generation,
    "overconfident": overconfident,
}


def _labelled(data: _Data, labels: list[Any]) -> "pd.DataFrame":
    frame = data.test.rename(columns={"target": "true_label"})
    return frame.assign(true_label=[labels[place] for place in frame["true_label"]])


def _tags(digits: Any) -> "np.ndarray":
    """Even, above four, with a loop, `[rows, 3]`."""
    import numpy as np

    return np.stack([digits % 2 == 0, digits > 4, digits.isin([0, 6, 8, 9])], axis=1)
