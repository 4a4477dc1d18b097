"""The child process of `scoreline pack --allow-pickle`, the only place that unpickles. It makes the bundle from the
objects that it reads; the parent process reads only the data of that bundle.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ..pipeline.errors import BundleError, ScorelineError, one_line
from ..pipeline.saving.notes import collected_notes
from ..pipeline.saving.pack import pack
from ..schemas.pack import PackSpec

#: The first bytes of files that torch.save writes, now (an archive) and before torch 1.6.
_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9")


def read_pickle(path: Path) -> Any:
    """Read a pickled object. Executes what is in the file; the user trusts it by --allow-pickle."""
    try:
        return _unpickled(path)
    except ModuleNotFoundError as error:
        raise BundleError(
            f"{path} needs the Python module {error.name!r}, which defines one of its classes; if it is a file beside"
            " the spec, and you trust it, pass --allow-import as well; otherwise install it"
        ) from error
    except AttributeError as error:
        _, _, named = str(error).partition("Can't get attribute '")
        if not named or not any(f"module {main!r}" in named for main in ("__main__", __spec__.name)):
            raise
        raise BundleError(
            f"{path} needs the class {named.partition(chr(39))[0]!r} of the script or notebook that saved it; save the"
            " weights instead, model.state_dict(), or save it again with the class in a module of its own"
        ) from error


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        first = file.read(max(map(len, _TORCH)))
    if first.startswith(_TORCH):
        import torch

        return torch.load(path, map_location="cpu", weights_only=False)
    try:
        import joblib  # reads plain pickles as well; an extra, as scikit-learn is
    except ImportError:
        import pickle

        return pickle.loads(path.read_bytes())
    return joblib.load(path)


def main() -> None:
    """Read the request from stdin as JSON, and write a digest or an error to the file that it names."""
    request = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        spec, folder = PackSpec.model_validate(request["spec"]), Path(request["folder"])
        if request["allow_import"]:
            sys.path.append(str(folder))  # last: it must not replace other modules
        with collected_notes() as notes:
            digest = pack(spec, folder, request["out"], allow_import=request["allow_import"], read_pickle=read_pickle)
        answer = {"digest": digest, "notes": notes}
    except ScorelineError as error:
        answer = {"error": str(error)}
    except (Exception, SystemExit) as error:  # unpickled code may raise anything
        answer = {"error": f"unpickling failed: {one_line(error)}"}
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
