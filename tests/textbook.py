"""Textbook networks and other common ones, which `save_bundle` must accept unchanged."""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn


class SingleLayerNN(nn.Module):
    """Returns (activation, z); the activation is chosen by an `if`."""

    def __init__(self, features: int, outputs: int, activation: str = "sigmoid") -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.linear(x)
        if self.activation == "sigmoid":
            a = torch.sigmoid(z)
        elif self.activation == "relu":
            a = torch.relu(z)
        elif self.activation == "softmax":
            a = F.softmax(z, dim=1)
        else:
            a = z
        return a, z


class FlexibleNN(nn.Module):
    """A ModuleList with a list of activations; returns the intermediates on request."""

    def __init__(self, sizes: list[int], activations: list[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activations = activations

    def forward(self, x: Tensor, return_intermediates: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        intermediates = []
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = layer(x)
            if activation == "relu":
                x = F.relu(x)
            elif activation == "tanh":
                x = torch.tanh(x)
            elif activation == "sigmoid":
                x = torch.sigmoid(x)
            intermediates.append(x)
        if return_intermediates:
            return x, intermediates
        return x


class Classifier(nn.Module):
    """Three layers that end in a softmax."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        x = self.dropout(F.relu(self.fc2(x)))
        return F.softmax(self.fc3(x), dim=1)


class ClassificationModel(nn.Module):
    """Linear-ReLU-BatchNorm stacks, built in a loop."""

    def __init__(self, features: int, hidden: list[int], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(0.3)]
            features = width
        layers.append(nn.Linear(features, classes))
        self.network = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class Residual(nn.Module):
    """Residual sums, a learned scale, concatenation, normalisation, reshapes, an output squeezed to [n]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(features, features), nn.LayerNorm(features), nn.GELU())
        self.scale = nn.Parameter(torch.full((features,), 0.5))
        self.register_buffer("shift", torch.linspace(-1, 1, features))
        self.out = nn.Linear(2 * features, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x + self.inner(x) * self.scale
        h = h.view(h.size(0), -1) - self.shift
        return self.out(torch.cat([h, x], dim=-1)).squeeze(-1)


class Embedded(nn.Module):
    """One embedding table for integer columns."""

    def __init__(self, columns: int, values: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(values, 4)
        self.head = nn.Linear(columns * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).flatten(1))


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """Set batch statistics as if the model had been trained, so that eval and train mode differ."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean = torch.randn(module.num_features, generator=generator)
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
    return model
