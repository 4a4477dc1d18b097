"""Opens the file with the rejected rows of a part."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ...schemas.run import Receipt
from ..errors import DataError, one_line
from ..outputs.assemble import REJECT
from ..outputs.receipt import file_digest, read_receipt
from ..outputs.store import Store
from .parts import OutputPart


@contextmanager
def opened_rejects(store: Store, part: OutputPart) -> Iterator[Any]:
    """A reader of the rejects of a part that has some. The file is first compared with the digest in the part's
    receipt: Arrow does not check what it reads, and a damaged file can end the process.

    Raises:
        DataError: it is missing, or not the file that the part was published with.
    """
    name = part.rejects
    assert name is not None, "checked by the callers"
    receipt = read_receipt(store.path(part.target))
    if not isinstance(receipt, Receipt):
        raise DataError(f"{part.target}: is {receipt}; run scoreline verify")
    try:
        with store.local(name) as path:
            if file_digest(path) != receipt.rejects:
                raise DataError(f"{name}: does not match the receipt of {part.target}; run scoreline verify")
            with pa.ipc.open_file(str(path)) as reader:
                if reader.schema.types[-1:] != [REJECT]:
                    raise DataError(f"{name}: has no column of reasons; run scoreline verify")
                yield reader
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{name}: cannot be read: {one_line(error)}; run scoreline verify") from error
