"""`python -m scoreline.schemas.export`: the JSON Schema of every file that is written, into schemas/json."""

import json
from pathlib import Path

from pydantic import BaseModel

from .bundle import BundleManifest
from .graph import Graph
from .history import HistoryEntry
from .job import JobFile
from .pack import PackSpec
from .profile import Reference, RunProfile
from .run import Receipt, RunManifest

FOLDER = Path(__file__).parent / "json"
FILES: dict[str, type[BaseModel]] = {
    "bundle": BundleManifest,
    "graph": Graph,
    "history": HistoryEntry,
    "job": JobFile,
    "pack": PackSpec,
    "profile": RunProfile,
    "receipt": Receipt,
    "reference": Reference,
    "run": RunManifest,
}


def schema_text(model: type[BaseModel]) -> str:
    """The JSON Schema of one kind of file, as it is stored in schemas/json."""
    return json.dumps(model.model_json_schema(), indent=2) + "\n"


def main() -> None:
    """Write every schema into `FOLDER`."""
    for name, model in FILES.items():
        (FOLDER / f"{name}.schema.json").write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    main()
