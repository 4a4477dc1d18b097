"""Names the head in errors about one of several outputs of a model."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...schemas.heads import AnyHead, Head
from ..errors import BundleError


@contextmanager
def named_errors(head: AnyHead) -> Iterator[None]:
    """Put `task 'fraud': ` in front of the message of a BundleError raised in the block. The only head of a bundle,
    which has no name of its own, is not named."""
    try:
        yield
    except BundleError as error:
        if head.name == Head.model_fields["name"].default:
            raise
        raise BundleError(f"task {head.name!r}: {error}") from error
