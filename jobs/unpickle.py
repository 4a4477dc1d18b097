"""The child process of `scoreline pack --allow-pickle`, the only place that unpickles. It makes the bundle from the
objects that it reads; the parent process reads only the data of that bundle.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ..pipeline.errors import ScorelineError, one_line
from ..pipeline.saving.pack import pack
from ..schemas.pack import PackSpec


def read_pickle(path: Path) -> Any:
    """Read a pickled object. Executes what is in the file; the user trusts it by --allow-pickle."""
    if path.suffix == ".pth":
        import torch

        return torch.load(path, map_location="cpu", weights_only=False)
    if path.suffix == ".joblib":
        import joblib

        return joblib.load(path)
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)


def main() -> None:
    """Read the request from stdin as JSON, and write a digest or an error to the file that it names."""
    request = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        spec, folder = PackSpec.model_validate(request["spec"]), Path(request["folder"])
        digest = pack(spec, folder, request["out"], allow_import=request["allow_import"], read_pickle=read_pickle)
        answer = {"digest": digest}
    except ScorelineError as error:
        answer = {"error": str(error)}
    except (Exception, SystemExit) as error:  # unpickled code may raise anything
        answer = {"error": f"unpickling failed: {one_line(error)}"}
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
