"""What run.json and profile.json both say about drift."""

from .base import Schema


class WorstDrift(Schema):
    """The comparison with the largest PSI among those above the bound of chance. `partition`: None for all rows."""

    column: str
    partition: str | None
    psi: float
