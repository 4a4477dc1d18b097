"""What the server of worker processes imports before it starts any: everything that takes long (`processes.py`).

None of these objects is ever freed. They are not scanned for garbage meanwhile, which takes a fifth of the time
(measured), nor afterwards in the workers, which would also copy the memory that they share.
"""

import gc

gc.disable()
try:
    from ..running import score
    from ..scoring import scorer
finally:
    gc.freeze()
    gc.enable()

__all__ = ["score", "scorer"]
