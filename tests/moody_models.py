"""Models that pass only small pieces, put in the place of a bundle's own after its golden rows were replayed."""

from collections.abc import Callable

from torch import Tensor, nn

from scoreline import Scorer


class AtMost(nn.Module):
    """A model that raises on more rows than it takes."""

    def __init__(self, model: nn.Module, rows: int, error: Callable[[str], Exception]) -> None:
        super().__init__()
        self.model, self.rows, self.error = model, rows, error

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        given = [*args, *kwargs.values()][0]
        if len(given) > self.rows:
            raise self.error(f"{self.rows} rows at most, not {len(given)}")
        found: Tensor = self.model(*args, **kwargs)
        return found


def take_at_most(scorer: Scorer, rows: int, error: Callable[[str], Exception]) -> None:
    """Let the model of a scorer raise on more than `rows` rows."""
    scorer.members.models[0] = AtMost(scorer.members.models[0], rows, error)
