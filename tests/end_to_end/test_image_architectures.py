"""Image models as people write them become data, and score as bare torch does."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from scoreline import Image as ImageSpec
from scoreline import Multiclass, Scorer, save_bundle
from textbook import randomized


class Residual(nn.Module):
    """Two residual blocks, one of them with a shortcut of its own, as in ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.c, self.d = nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16)
        self.short, self.pool, self.fc = nn.Conv2d(8, 16, 1, 2), nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = functional.relu(self.b(self.a(x)) + x)
        x = functional.relu(self.d(self.c(x)) + self.short(x))
        return self.fc(torch.flatten(self.pool(x), 1))


class Mobile(nn.Module):
    """Depthwise convolutions and a squeeze-and-excitation block, as in MobileNetV3."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 5, 2, 2, groups=12)
        self.squeeze, self.excite = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.act, self.gate, self.fc = nn.Hardswish(), nn.Hardsigmoid(), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.depthwise(self.act(self.expand(x))))
        scale = functional.adaptive_avg_pool2d(x, 1)
        x = x * self.gate(self.excite(functional.relu(self.squeeze(scale))))
        return self.fc(x.mean([2, 3]))


class Pooled(nn.Module):
    """LeNet by functions, with `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 6, 5, padding=2), nn.Conv2d(6, 8, 3), nn.Linear(8 * 3 * 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(torch.tanh(self.a(x)), 2)
        x = functional.avg_pool2d(functional.relu(self.b(x)), kernel_size=2)
        return self.fc(x.view(x.size(0), -1))


class Patches(nn.Module):
    """A vision transformer of one layer: patches, a class token, positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.layer = nn.Conv2d(3, 16, 4, 4), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.norm, self.fc = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.places
        return self.fc(self.norm(self.layer(x)[:, 0]))


class Hourglass(nn.Module):
    """Down and up again, and the mean of what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.down, self.up = nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3, 2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.larger, self.norm, self.out = nn.Upsample(scale_factor=2), nn.InstanceNorm2d(4), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.up(functional.gelu(self.down(self.pad(x)))))
        return functional.adaptive_max_pool2d(self.out(self.larger(x)), 1)[:, :, 0, 0]


def png(pixels: np.ndarray) -> bytes:
    """The bytes of an image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", [Residual, Mobile, Pooled, Patches, Hourglass])
def test_image_models_become_data(tmp_path: Path, kind: type[nn.Module]) -> None:
    """The graph holds no code, and 40 images score as the module itself scores them."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    table = pa.table({"photo": [png(picture) for picture in pixels]})
    torch.manual_seed(2)
    model = randomized(kind())
    save_bundle(
        tmp_path / "b",
        model,
        inputs=ImageSpec("photo", size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3),
        task=Multiclass(["a", "b", "c"]),
        sample=table.slice(0, 12),
    )
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    assert [member.kind for member in scorer.manifest.members] == ["graph"]
    scored = scorer.score_table(table)
    with torch.no_grad():
        shown = (torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255 - 0.5) / 0.25
        wanted = torch.softmax(model.eval()(shown), dim=1).numpy()
    got = np.stack([scored[f"probability_{label}"].to_numpy() for label in "abc"], axis=1)
    np.testing.assert_allclose(got, wanted, atol=2e-6)
