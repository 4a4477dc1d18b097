"""Which encoder layers leave torch's fast path; `end_to_end/test_cuda_features.py` compares what they compute."""

import pytest
import torch
from scoreline.pipeline.model.exact_layers import use_exact_gelu
from torch import nn
from torch.nn.functional import gelu


@pytest.mark.parametrize(
    ("activation", "device", "expected"),
    [("gelu", "cuda", 0), (gelu, "cuda:1", 0), (nn.GELU(), "cuda", 0), ("relu", "cuda", 1), ("gelu", "cpu", 2)],
)
def test_layers_of_a_module(activation: object, device: str, expected: int) -> None:
    """At any depth. The activation itself stays."""
    layers = [nn.TransformerEncoderLayer(8, 2, 8, activation=activation, batch_first=True) for _ in range(2)]  # type: ignore[arg-type]
    before = [layer.activation for layer in layers]
    use_exact_gelu(nn.ModuleDict({"first": layers[0], "others": nn.Sequential(layers[1])}), torch.device(device))
    assert [layer.activation_relu_or_gelu for layer in layers] == [expected] * 2
    assert [layer.activation for layer in layers] == before
