"""weights.safetensors: tensors in and out unchanged, equal bytes for equal tensors, and what is refused."""

import pytest
import safetensors.torch
import torch
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.graph.operations import DTYPES
from scoreline.pipeline.model.weights import check_tensors, read_weights, write_weights


def test_round_trip_of_every_type() -> None:
    """Values, types and shapes; also a scalar and no elements."""
    tensors = {name: torch.tensor([[0, 1], [1, 1]]).to(dtype) for name, dtype in DTYPES.items()}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "infinite": torch.tensor([torch.inf])}
    found = read_weights(write_weights(tensors), "w")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_file_is_one_that_safetensors_reads() -> None:
    """And the other way round."""
    tensors = {"b": torch.ones(2), "a": torch.zeros(1, dtype=torch.int64)}
    assert torch.equal(safetensors.torch.load(write_weights(tensors))["b"], torch.ones(2))
    assert read_weights(safetensors.torch.save(tensors), "w")["a"].dtype == torch.int64


def test_bytes_do_not_depend_on_the_order() -> None:
    one, two = torch.ones(2), torch.zeros(3)
    assert write_weights({"a": one, "b": two}) == write_weights({"b": two, "a": one})
    assert write_weights({"a": one}) != write_weights({"a": one + 1})


def test_no_tensors() -> None:
    assert read_weights(write_weights({}), "w") == {}


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"PK\x03\x04", write_weights({"a": torch.ones(4)})[:-1]])
def test_other_bytes_are_refused(data: bytes) -> None:
    """An empty file, a pickle, an archive, a file that was cut; the message names the file, in one line."""
    with pytest.raises(BundleError) as error:
        read_weights(data, "weights-1.safetensors")
    assert str(error.value).startswith("weights-1.safetensors is not a safetensors file: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_nan_is_refused(dtype: torch.dtype) -> None:
    """When saving and when loading: it would reject every row."""
    tensors = {"ok": torch.ones(1), "fc.bias": torch.tensor([0.0, torch.nan], dtype=dtype)}
    message = r"^tensor 'fc\.bias' of the model contains NaN; train it again$"
    with pytest.raises(BundleError, match=message):
        write_weights(tensors)
    with pytest.raises(BundleError, match=message):
        read_weights(safetensors.torch.save(tensors), "w")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_other_types_are_refused(dtype: torch.dtype) -> None:
    """The message lists the types that can be used."""
    with pytest.raises(BundleError, match=f"tensor 'w' of the model is {dtype}; use one of float32, float64"):
        check_tensors({"w": torch.zeros(2).to(dtype)})
