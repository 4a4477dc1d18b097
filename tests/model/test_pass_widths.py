"""The widths that sequences are padded to."""

import torch
from scoreline.pipeline.model.passes import padded_widths


def test_padded_widths_are_computed_in_integers() -> None:
    """Multiples of a quarter of the power of two below, for every length; exact also for very large ones."""
    lengths = [*range(1, 5000), (1 << 53) + 1]

    def width(length: int) -> int:
        step = 1 if length <= 8 else max(1, (1 << (length - 1).bit_length() - 1) // 4)
        return -(-length // step) * step

    assert padded_widths(torch.tensor(lengths)).tolist() == [width(length) for length in lengths]
