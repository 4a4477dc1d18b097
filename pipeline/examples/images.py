"""An image example: handwritten digits, classified by a convolutional network."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...schemas.specs import inputs as specs
from ...schemas.specs.tasks import Multiclass
from ..saving.save import save_bundle
from .example import Example, frame_of, load_data

if TYPE_CHECKING:
    import pandas as pd


class _DigitReader(nn.Module):
    """Two convolutions and one linear layer, for grayscale images of 8 × 8 pixels."""

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
    """Handwritten digits as PNG files, two of them broken, with a small convolutional network."""
    import numpy as np

    data = load_data("digits")

    def files(frame: "pd.DataFrame") -> list[bytes]:
        pixels = (frame[data.features].to_numpy() * 255 / 16).round().astype(np.uint8).reshape(-1, 8, 8)
        return [_png(picture) for picture in pixels]

    torch.manual_seed(0)
    model = _DigitReader()
    images = torch.tensor((data.train[data.features].to_numpy() * 255 / 16).round() / 255, dtype=torch.float32)
    target = data.target(data.train["target"])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model((images.view(-1, 1, 8, 8) - 0.3) / 0.4), target))
        optimizer.step()
    save_bundle(
        bundle,
        model.eval(),
        inputs=specs.Image("scan", size=(8, 8), channels=1, mean=[0.3], std=[0.4]),
        task=Multiclass(list(range(10))),
        sample=frame_of({"scan": files(data.train.head(100))}),
    )
    scans = files(data.test)
    scans[7], scans[70] = scans[7][:60], b"not a picture"
    frame = frame_of({"scan": scans, "true_label": data.test["target"].tolist()})
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
