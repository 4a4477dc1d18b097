"""The only import of onnxruntime, with its telemetry disabled.

Since 1.29, its builds for Linux and macOS write an identifier and a database to the cache folder of the home directory
when they are imported, and send usage data to their vendor. The environment variable is read at that moment and applies
to the whole process, so it is set before the first import; on Windows there is a function for it.
"""

import os
from typing import Any

SWITCH = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> Any:
    """The module. Raises ImportError where the extra is not installed."""
    os.environ[SWITCH] = "1"
    import onnxruntime  # an extra: only bundles with an ONNX model need it

    onnxruntime.disable_telemetry_events()
    return onnxruntime
