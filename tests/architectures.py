"""Architectures for tables after public libraries and papers, not written for Scoreline."""

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn


class FTTransformer(nn.Module):
    """After Gorishniy et al. 2021: a token per feature, a CLS token, pre-norm attention blocks."""

    def __init__(self, features: int, width: int = 8, blocks: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, width))
        self.bias = nn.Parameter(torch.randn(features, width))
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks))
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, 2, batch_first=True) for _ in range(blocks))
        self.forwards = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unsqueeze(-1) * self.weight + self.bias
        tokens = torch.cat([self.cls.expand(x.shape[0], -1, -1), tokens], dim=1)
        for at, (attention, feed) in enumerate(zip(self.attention, self.forwards, strict=True)):
            h = self.norms[2 * at](tokens)
            tokens = tokens + attention(h, h, h, need_weights=False)[0]
            tokens = tokens + feed(self.norms[2 * at + 1](tokens))
        return self.head(tokens[:, 0])


class TabularResNet(nn.Module):
    """BatchNorm, two linear layers and a skip, several times."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(width)
            self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
            self.dropout = nn.Dropout(0.2)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.dropout(self.second(self.dropout(F.relu(self.first(self.norm(x))))))

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, 16)
        self.blocks = nn.Sequential(*(self.Block(16) for _ in range(3)))
        self.head = nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.first(x)))


class EntityEmbeddings(nn.Module):
    """After fastai: an embedding per categorical column, sized by its cardinality, beside normalised numbers."""

    def __init__(self, cardinalities: list[int], numbers: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, min(50, (size + 1) // 2)) for size in cardinalities)
        self.norm = nn.BatchNorm1d(numbers)
        width = sum(embedding.embedding_dim for embedding in self.embeddings) + numbers
        self.body = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 3))

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        parts = [embedding(codes[:, at]) for at, embedding in enumerate(self.embeddings)]
        return self.body(torch.cat([*parts, self.norm(numbers)], dim=1))


class TabNetLike(nn.Module):
    """After Arik and Pfister 2021: steps that attend to features by a sparsemax over what is left of a prior."""

    def __init__(self, features: int, steps: int = 2) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        self.attend = nn.ModuleList(
            nn.Sequential(nn.Linear(8, features), nn.BatchNorm1d(features)) for _ in range(steps)
        )
        self.transform = nn.ModuleList(nn.Sequential(nn.Linear(features, 16), nn.GLU(dim=-1)) for _ in range(steps + 1))
        self.head = nn.Linear(8, 3)

    @staticmethod
    def sparsemax(z: Tensor) -> Tensor:
        """Martins and Astudillo 2016."""
        ordered = torch.sort(z, dim=-1, descending=True)[0]
        summed = torch.cumsum(ordered, dim=-1)
        rank = torch.cumsum(torch.ones_like(z), dim=-1)
        support = (1 + rank * ordered) > summed
        count = support.sum(dim=-1, keepdim=True)
        tau = (torch.where(support, ordered, torch.zeros_like(z)).sum(dim=-1, keepdim=True) - 1) / count
        return torch.clamp(z - tau, min=0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        prior, state, total = torch.ones_like(x), self.transform[0](x), 0
        for at in range(len(self.attend)):
            mask = self.sparsemax(self.attend[at](state) * prior)
            prior = prior * (1.3 - mask)
            state = self.transform[at + 1](x * mask)
            total = total + F.relu(state)
        return self.head(total)


class LaggedLSTM(nn.Module):
    """An LSTM over columns that are one value at successive times."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 8, num_layers=2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, (hidden, _) = self.lstm(x.unsqueeze(-1))
        return self.head(out[:, -1] + hidden[-1])


class EncoderStack(nn.Module):
    """A torch TransformerEncoderLayer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.layer(self.embed(x.unsqueeze(-1)))).mean(dim=1))


class GatedExperts(nn.Module):
    """Control flow that depends on values, which a traced graph cannot represent."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(features, 3), nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.first(x)
        for row in range(1):
            if float(x.shape[1]) > 100:
                out = self.second(x[row:])
        return out if bool(torch.all(x == x)) else self.second(x)
