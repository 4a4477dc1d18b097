"""What the server of worker processes imports."""

import json
import subprocess
import sys

SCRIPT = """
import gc, json, sys
import scoreline.pipeline.engines.preloaded
print(json.dumps({"torch": "torch" in sys.modules, "collects": gc.isenabled(), "left": len(gc.get_objects())}))
"""


def test_nothing_of_the_imports_is_scanned_in_workers() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    found = json.loads(run.stdout)
    assert found["torch"]
    assert found["collects"]
    assert found["left"] < 1000, "torch alone has a hundred thousand"
