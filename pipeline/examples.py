"""Small networks trained on the data that ships with scikit-learn, saved as bundles: what the demo shows. Each takes
seconds; none is tuned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import UsageError
from .save import save_bundle

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


def _save(bundle: Path, model: nn.Module, data: _Data, **described: Any) -> None:
    save_bundle(bundle, model, features=data.features, scaler=data.scaler, sample=data.train, **described)


def binary(bundle: Path) -> Example:
    """Breast cancer: malignant or benign, and how likely."""
    data, labels = _data("breast_cancer"), ["malignant", "benign"]
    model = _train(_net(30, 1), data, data.target(data.train["target"]).float(), _yes_no)
    _save(bundle, model, data, task="binary", labels=labels)
    return Example(name="breast_cancer", frame=_labelled(data, labels), truth=["true_label"])


def threshold(bundle: Path) -> Example:
    """Breast cancer, benign only where it is all but certain."""
    return replace(binary(bundle), name="threshold", words=["--threshold", "0.95"])


def multiclass(bundle: Path) -> Example:
    """Wine: one of three cultivars, as CSV."""
    data, labels = _data("wine"), ["class_0", "class_1", "class_2"]
    model = _train(_net(13, 3), data, data.target(data.train["target"]), nn.functional.cross_entropy)
    _save(bundle, model, data, task="multiclass", labels=labels)
    return Example(name="wine", frame=_labelled(data, labels), truth=["true_label"], layout="csv")


def top_k(bundle: Path) -> Example:
    """Handwritten digits: the three likeliest, each with its probability."""
    data = _data("digits")
    model = _train(_net(64, 10), data, data.target(data.train["target"]), nn.functional.cross_entropy, 40)
    _save(bundle, model, data, task="multiclass", labels=list(range(10)))
    words = ["--top-k", "3", "--probabilities", "none"]
    return Example(name="digits", frame=_labelled(data, list(range(10))), truth=["true_label"], words=words)


def multilabel(bundle: Path) -> Example:
    """Handwritten digits: even, above four, with a loop; any number of them at once."""
    data = _data("digits")
    model = _train(_net(64, 3), data, torch.from_numpy(_tags(data.train["target"])).float(), _yes_no, 40)
    _save(bundle, model, data, task="multilabel", labels=["even", "above_four", "loop"], threshold={"loop": 0.4})
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
    _save(bundle, model, data, task="regression", target_scaler=unit, bounds=seen)
    return Example(name="diabetes", frame=data.test.rename(columns={"target": "true_value"}), truth=["true_value"])


def quantiles(bundle: Path) -> Example:
    """Diabetes: a low, a middle and a high guess, by the pinball loss; the target was divided by 100."""
    data, wanted = _data("diabetes", stratify=False), torch.tensor([0.1, 0.5, 0.9])

    def pinball(raw: Tensor, target: Tensor) -> Tensor:
        apart = target - raw
        return torch.maximum(wanted * apart, (wanted - 1) * apart).mean()

    target = data.target(data.train["target"])[:, None].float() / 100
    model = _train(_net(10, 3), data, target, pinball)
    _save(bundle, model, data, task="regression", quantiles=[0.1, 0.5, 0.9], target_scaler=100.0)
    frame = data.test.rename(columns={"target": "true_value"})
    return Example(name="diabetes_quantiles", frame=frame, truth=["true_value"])


def spread(bundle: Path) -> Example:
    """Diabetes: a mean and how sure it is, by the Gaussian likelihood."""
    data = _data("diabetes", stratify=False)

    def likelihood(raw: Tensor, target: Tensor) -> Tensor:
        return nn.functional.gaussian_nll_loss(raw[:, :1], target, torch.exp(raw[:, 1:]))

    target = data.target(data.train["target"])[:, None].float() / 100
    model = _train(_net(10, 2), data, target, likelihood, 40)
    _save(bundle, model, data, task="regression", spread="log_variance", target_scaler=100.0)
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
    described = {
        "digit": {"task": "multiclass", "labels": list(range(10)), "output": "digit"},
        "even": {"task": "binary", "labels": ["odd", "even"], "output": "even"},
    }
    _save(bundle, model, data, heads=described)
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
    _save(bundle, model, data, task="multiclass", labels=list(range(10)))
    return Example(name="overconfident", frame=_labelled(data, list(range(10))), truth=["true_label"])


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
    "overconfident": overconfident,
}


def _labelled(data: _Data, labels: list[Any]) -> "pd.DataFrame":
    frame = data.test.rename(columns={"target": "true_label"})
    return frame.assign(true_label=[labels[place] for place in frame["true_label"]])


def _tags(digits: Any) -> "np.ndarray":
    """Even, above four, with a loop, `[rows, 3]`."""
    import numpy as np

    return np.stack([digits % 2 == 0, digits > 4, digits.isin([0, 6, 8, 9])], axis=1)
