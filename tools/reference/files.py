"""The files on disk, from the models of `schemas/`."""

import json
import re
from typing import Any

from scoreline.schemas.export import FILES

from .markdown import code, table

#: What each file is called where it is written, and which command writes it.
PLACES = {
    "bundle": ("bundle.json", "save_bundle, scoreline pack, scoreline calibrate"),
    "graph": ("graph.json", "save_bundle, scoreline pack, scoreline calibrate"),
    "history": ("_scoreline/history.jsonl", "scoreline score, scoreline finish"),
    "job": ("a job file, TOML", "you"),
    "pack": ("a spec of scoreline pack, TOML", "you"),
    "profile": ("_scoreline/profile.json", "scoreline score, scoreline finish"),
    "receipt": ("the footer of each part, under `scoreline.receipt`", "scoreline score"),
    "reference": ("reference.json", "save_bundle, scoreline pack, scoreline calibrate"),
    "run": ("_scoreline/run.json", "scoreline score, scoreline finish"),
}


def files_section() -> str:
    """A table of the files that have a JSON Schema."""
    rows = [
        (_place(name), PLACES[name][1], code(f"schemas/json/{name}.schema.json"), f"[fields](#{_anchor(name)})")
        for name in FILES
    ]
    return table(("file", "written by", "JSON Schema", ""), rows)


def file_section(name: str) -> str:
    """The fields of a file: those of the file itself, then those of each record in it."""
    schema = FILES[name].model_json_schema()
    description = "" if name == "bundle" else _description(schema)  # it is the name of the file
    parts = [f"## {_heading(name)}\n\n{description}{_fields(schema)}"]
    for record, definition in schema.get("$defs", {}).items():
        if definition.get("properties"):
            parts.append(f"**{record}.** {_description(definition)}{_fields(definition)}")
    return "\n".join(parts)


def _place(name: str) -> str:
    place = PLACES[name][0]
    return code(place) if place.endswith((".json", ".jsonl")) else place


def _heading(name: str) -> str:
    return {"job": "Job file", "pack": "Spec of scoreline pack", "receipt": "Receipt"}.get(name, PLACES[name][0])


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", _heading(name).lower()).replace(" ", "-")


def _description(schema: dict[str, Any]) -> str:
    text = " ".join(schema.get("description", "").split())
    return f"{text}\n\n" if text else "\n\n"


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        (code(name), _kind(field), "required" if name in required else code(_default(field)))
        for name, field in schema.get("properties", {}).items()
    ]
    return table(("field", "type", "default"), rows)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _kind(field: dict[str, Any]) -> str:
    """The type of a field in words: `string`, `array of PartRecord`, `Binary or Multiclass`."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "const" in field:
        return code(json.dumps(field["const"]))
    if "enum" in field:
        return ", ".join(code(one) for one in field["enum"])
    for union in ("anyOf", "oneOf"):
        if union in field:
            return " or ".join(dict.fromkeys(_kind(one) for one in field[union]))
    if field.get("type") == "array":
        items = field.get("items") or {}
        return f"array of {_kind(items)}" if items else "array"
    if field.get("type") == "object":
        values = field.get("additionalProperties")
        return f"table of {_kind(values)}" if isinstance(values, dict) and values else "table"
    return str(field.get("type", "any"))
