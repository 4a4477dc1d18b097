"""Shared parts of the examples: a data set in two parts, a small network, training, saving."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...schemas.specs.tasks import AnyTask
from ..errors import UsageError
from ..saving.save import save_bundle

if TYPE_CHECKING:
    import pandas as pd


EPOCHS = 100
Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """`name`: of the bundle. `frame`: test rows, with the true values in the columns `truth`. `words`: additional
    arguments of `scoreline score`. `layout`: the file format of the test rows. `head`: the head to evaluate, if there
    are several."""

    name: str
    frame: "pd.DataFrame"
    truth: list[str]
    words: list[str] = field(default_factory=list)
    layout: str = "parquet"
    head: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """A data set in two parts, its features, and the scaler fitted to them."""

    train: "pd.DataFrame"
    test: "pd.DataFrame"
    features: list[str]
    scaler: Any

    def inputs(self) -> Tensor:
        """The training rows as the network's inputs."""
        return torch.from_numpy(self.scaler.transform(self.train[self.features]).astype("float32"))

    def target(self, values: Any) -> Tensor:
        """A column of the training rows."""
        return torch.tensor(values.tolist())


def load_data(name: str, *, stratify: bool = True) -> Data:
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
    return Data(train=train, test=test, features=features, scaler=StandardScaler().fit(train[features]))


def make_network(inputs: int, outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.Linear(64, outputs))


def train(model: nn.Module, data: Data, target: Tensor, loss: Loss, epochs: int = EPOCHS) -> nn.Module:
    inputs = data.inputs()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.autograd.backward(loss(model(inputs), target))
        optimizer.step()
    return model.eval()


def yes_no_loss(raw: Tensor, target: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(raw.reshape(target.shape), target)


def save_example(bundle: Path, model: nn.Module, data: Data, *, task: AnyTask | dict[str, AnyTask]) -> None:
    save_bundle(bundle, model, features=data.features, scaler=data.scaler, sample=data.train, task=task)


def with_labels(data: Data, labels: list[Any]) -> "pd.DataFrame":
    frame = data.test.rename(columns={"target": "true_label"})
    return frame.assign(true_label=[labels[index] for index in frame["true_label"]])


def frame_of(columns: dict[str, list[Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(columns)
