"""The examples of the demo: small networks, trained on data that ships with scikit-learn and saved as bundles. Each
trains in seconds; none is tuned.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...schemas.specs.tasks import AnyTask, Binary, Multiclass, Multilabel, Regression
from .example import Example, load_data, make_network, save_example, train, with_labels, yes_no_loss
from .images import image
from .lists import generation, sequence

if TYPE_CHECKING:
    import numpy as np


def binary(bundle: Path) -> Example:
    """Breast cancer: malignant or benign, with a probability."""
    data, labels = load_data("breast_cancer"), ["malignant", "benign"]
    model = train(make_network(30, 1), data, data.target(data.train["target"]).float(), yes_no_loss)
    save_example(bundle, model, data, task=Binary(labels))
    return Example(name="breast_cancer", frame=with_labels(data, labels), truth=["true_label"])


def threshold(bundle: Path) -> Example:
    """Breast cancer: benign only if the probability is above 0.95."""
    return replace(binary(bundle), name="threshold", words=["--threshold", "0.95"])


def multiclass(bundle: Path) -> Example:
    """Wine: one of three cultivars, as CSV."""
    data, labels = load_data("wine"), ["class_0", "class_1", "class_2"]
    model = train(make_network(13, 3), data, data.target(data.train["target"]), nn.functional.cross_entropy)
    save_example(bundle, model, data, task=Multiclass(labels))
    return Example(name="wine", frame=with_labels(data, labels), truth=["true_label"], layout="csv")


def top_k(bundle: Path) -> Example:
    """Handwritten digits: the three most likely digits, with their probabilities."""
    data = load_data("digits")
    model = train(make_network(64, 10), data, data.target(data.train["target"]), nn.functional.cross_entropy, 40)
    save_example(bundle, model, data, task=Multiclass(list(range(10))))
    words = ["--top-k", "3", "--probabilities", "none"]
    return Example(name="digits", frame=with_labels(data, list(range(10))), truth=["true_label"], words=words)


def multilabel(bundle: Path) -> Example:
    """Handwritten digits: even, above four, with a loop; any combination of these labels."""
    data = load_data("digits")
    model = train(make_network(64, 3), data, torch.from_numpy(_tags(data.train["target"])).float(), yes_no_loss, 40)
    save_example(bundle, model, data, task=Multilabel(["even", "above_four", "loop"], threshold={"loop": 0.4}))
    tags = _tags(data.test["target"])
    truth = ["is_even", "is_above_four", "has_loop"]
    frame = data.test.drop(columns="target").assign(**{name: tags[:, at] for at, name in enumerate(truth)})
    return Example(name="digit_tags", frame=frame, truth=truth)


def regression(bundle: Path) -> Example:
    """Diabetes: disease progression, in its own unit; predictions outside the training range are counted."""
    from sklearn.preprocessing import StandardScaler

    data = load_data("diabetes", stratify=False)
    unit = StandardScaler().fit(data.train[["target"]].to_numpy())
    target = torch.from_numpy(unit.transform(data.train[["target"]].to_numpy()).astype("float32"))
    model = train(make_network(10, 1), data, target, nn.functional.mse_loss, 40)
    seen = float(data.train["target"].min()), float(data.train["target"].max())
    save_example(bundle, model, data, task=Regression(scaler=unit, bounds=seen))
    return Example(name="diabetes", frame=data.test.rename(columns={"target": "true_value"}), truth=["true_value"])


def quantiles(bundle: Path) -> Example:
    """Diabetes: the 10%, 50% and 90% quantiles, trained with the pinball loss; the target was divided by 100."""
    data, wanted = load_data("diabetes", stratify=False), torch.tensor([0.1, 0.5, 0.9])

    def pinball(raw: Tensor, target: Tensor) -> Tensor:
        apart = target - raw
        return torch.maximum(wanted * apart, (wanted - 1) * apart).mean()

    target = data.target(data.train["target"])[:, None].float() / 100
    model = train(make_network(10, 3), data, target, pinball)
    save_example(bundle, model, data, task=Regression(quantiles=[0.1, 0.5, 0.9], scaler=100.0))
    frame = data.test.rename(columns={"target": "true_value"})
    return Example(name="diabetes_quantiles", frame=frame, truth=["true_value"])


def spread(bundle: Path) -> Example:
    """Diabetes: a mean and its uncertainty, trained with the Gaussian likelihood."""
    data = load_data("diabetes", stratify=False)

    def likelihood(raw: Tensor, target: Tensor) -> Tensor:
        return nn.functional.gaussian_nll_loss(raw[:, :1], target, torch.exp(raw[:, 1:]))

    target = data.target(data.train["target"])[:, None].float() / 100
    model = train(make_network(10, 2), data, target, likelihood, 40)
    save_example(bundle, model, data, task=Regression(spread="log_variance", scaler=100.0))
    frame = data.test.rename(columns={"target": "true_value"})
    return Example(name="diabetes_spread", frame=frame, truth=["true_value"])


class _TwoHeads(nn.Module):
    """Two heads on one trunk: the digit, and whether it is even."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.digit, self.even = nn.Linear(64, 64), nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        shared = torch.relu(self.trunk(pixels))
        return {"digit": self.digit(shared), "even": self.even(shared)}


def heads(bundle: Path) -> Example:
    """Handwritten digits: the digit, and whether it is even, from one network with two heads."""
    data = load_data("digits")

    def both(raw: dict[str, Tensor], target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(raw["digit"], target) + yes_no_loss(
            raw["even"][:, 0], (target % 2 == 0).float()
        )

    torch.manual_seed(0)
    model = train(_TwoHeads(), data, data.target(data.train["target"]), both, 40)
    tasks: dict[str, AnyTask] = {
        "digit": Multiclass(list(range(10)), output="digit"),
        "even": Binary(["odd", "even"], output="even"),
    }
    save_example(bundle, model, data, task=tasks)
    frame = with_labels(data, list(range(10)))
    return Example(
        name="digit_heads", frame=frame, truth=["true_label"], words=["--probabilities", "none"], head="digit"
    )


def hidden(bundle: Path) -> Example:
    """Wine: the output of a hidden layer, 64 numbers for each row, beside the prediction."""
    return replace(multiclass(bundle), name="wine_hidden", words=["--hidden", "1"], layout="parquet")


def explain(bundle: Path) -> Example:
    """Breast cancer: the attribution of each of the 30 features to the score of a row."""
    return replace(binary(bundle), name="explained", words=["--explain", "shapley"])


def overconfident(bundle: Path) -> Example:
    """Handwritten digits: an overconfident network, trained too long on too few rows."""
    data = load_data("digits")
    few = replace(data, train=data.train.head(150))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    train(model, few, few.target(few.train["target"]), nn.functional.cross_entropy, 200)
    save_example(bundle, model, data, task=Multiclass(list(range(10))))
    return Example(name="overconfident", frame=with_labels(data, list(range(10))), truth=["true_label"])


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


def _tags(digits: Any) -> "np.ndarray":
    """Even, above four, with a loop, `[rows, 3]`."""
    import numpy as np

    return np.stack([digits % 2 == 0, digits > 4, digits.isin([0, 6, 8, 9])], axis=1)
