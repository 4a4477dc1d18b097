"""A helper of a model, in a module of its own, as projects have them."""

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence as packed


def last_states(turn: nn.RNNBase, steps: Tensor, lengths: Tensor) -> Tensor:
    """The states of the last layer after the last step of each row."""
    states: Tensor = turn(packed(steps, lengths.cpu(), batch_first=True, enforce_sorted=False))[1]
    return states[-1]
