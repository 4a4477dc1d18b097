"""onnxruntime, imported here alone and with its telemetry off.

Since 1.29 its builds for Linux and macOS write an identifier and a database below the cache of the home directory as
soon as they are imported, and send to their vendor what they ran. The switch is read at that moment and holds for the
life of the process, so it is set before the first import; on Windows there is a call for it.
"""

import os
from typing import Any

SWITCH = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> Any:
    """The module. Raises ImportError where the extra is not installed."""
    os.environ[SWITCH] = "1"
    import onnxruntime  # an extra: only bundles that hold ONNX need it

    onnxruntime.disable_telemetry_events()
    return onnxruntime
