"""The rules on imports between packages, checked in the sources with `ast`."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOP = ("scoreline", "pipeline", "jobs", "schemas")
SOURCES = sorted(file for room in TOP for file in (ROOT / room).rglob("*.py"))
PIPELINE = [file for file in SOURCES if file.is_relative_to(ROOT / "pipeline")]
COMMANDS = [file for file in SOURCES if "jobs" in file.parts and "terminal" not in file.parts]
#: The floors of the pipeline, from the bottom up. A room (package) imports only from the floors below it.
#: Modules that are not in a room are on the ground floor, and import only from there.
FLOORS = (
    ("features", "storage", "tasks"),
    ("parquet",),
    ("bundle", "graph", "inputs", "outputs"),
    ("model", "monitoring"),
    ("planning", "scoring"),
    ("running", "saving"),
    ("evaluation", "examples", "reporting", "engines"),
)
#: Rooms that are used for planning, and must not import torch.
WITHOUT_TORCH = ("schemas", "storage", "parquet", "inputs", "outputs", "bundle", "planning", "monitoring", "reporting")


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree."""
    return tuple(ast.walk(parsed(file)))


@cache
def installed_name(file: Path) -> str:
    """`pipeline/inputs/csv.py` → `scoreline.pipeline.inputs.csv`."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "scoreline" else ("scoreline", *parts)
    return ".".join(parts).removesuffix(".__init__")


@cache
def imports(file: Path, *, everywhere: bool = True) -> frozenset[str]:
    """The absolute names that a file imports; with `everywhere=False` only those at the top, outside `if
    TYPE_CHECKING`."""
    name = installed_name(file)
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in nodes(file) if everywhere else parsed(file).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names if not node.module}
    return frozenset(found)


def internal_imports(file: Path) -> set[str]:
    """The modules of Scoreline that a file imports."""
    return {name for name in imports(file) if name.startswith("scoreline")}


def test_imports_go_one_way() -> None:
    """jobs → pipeline → schemas, never back; scoreline/ only re-exports names."""
    forbidden = {
        "scoreline.pipeline": ("scoreline.jobs",),
        "scoreline.schemas": ("scoreline.jobs", "scoreline.pipeline"),
    }
    for file in SOURCES:
        name = installed_name(file)
        for room, others in forbidden.items():
            if name.startswith(room):
                assert not [found for found in internal_imports(file) if found.startswith(others)], file
        if not name.startswith("scoreline.jobs") and name not in ("scoreline", "scoreline.__main__"):
            assert "scoreline" not in imports(file), file


def test_commands_do_not_import_each_other() -> None:
    """Jobs import only the terminal room and the pipeline; cli.py registers them by name."""
    for file in COMMANDS:
        between = [
            name for name in internal_imports(file) if name.startswith("scoreline.jobs.") and ".terminal" not in name
        ]
        assert not between, file


def room_of(name: str) -> str:
    """`scoreline.pipeline.inputs.csv` → `inputs`; empty for the ground floor."""
    room = name.removeprefix("scoreline.pipeline.").split(".")[0]
    return room if any(room in floor for floor in FLOORS) else ""


def test_every_room_has_a_floor() -> None:
    """A new folder must be added to FLOORS, or its imports would not be checked."""
    folders = {file.relative_to(ROOT / "pipeline").parts[0] for file in PIPELINE if file.parent != ROOT / "pipeline"}
    assert folders == {room for floor in FLOORS for room in floor}


def test_rooms_import_downwards() -> None:
    """From the floors below, their own room, and the ground floor."""
    height = {"": -1} | {room: number for number, floor in enumerate(FLOORS) for room in floor}
    for file in PIPELINE:
        own = room_of(installed_name(file))
        for name in internal_imports(file):
            other = room_of(name)
            if name.startswith("scoreline.pipeline.") and other != own:
                assert height[other] < height[own], (file, name)


def test_private_names_stay_in_their_file() -> None:
    """Names that begin with an underscore are not imported by other modules."""
    for file in SOURCES:
        found = [node for node in nodes(file) if isinstance(node, ast.ImportFrom)]
        assert not [alias.name for node in found if node.level for alias in node.names if alias.name.startswith("_")], (
            file
        )


def test_libraries_stay_where_they_belong() -> None:
    """Click only in jobs; no torch in rooms for planning."""
    for file in SOURCES:
        roots = {found.split(".")[0] for found in imports(file)}
        parts = file.relative_to(ROOT).parts
        if parts[0] != "jobs":
            assert not roots & {"click", "tqdm", "structlog"}, file
        if {*parts[:2]} & set(WITHOUT_TORCH):
            assert "torch" not in roots, file


def test_no_module_can_execute_code_from_files() -> None:
    """No pickle, no eval, no exec, no fx.GraphModule; torch.load only for weights. The one exception is the child
    process of `pack --allow-pickle`, which is never imported."""
    for file in SOURCES:
        assert "scoreline.jobs.unpickle" not in imports(file), file
        if installed_name(file) == "scoreline.jobs.unpickle":
            continue
        calls = [node for node in nodes(file) if isinstance(node, ast.Call)]
        called = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        assert not called & {"eval", "exec", "compile", "__import__"}, file
        attributes = {node.attr for node in nodes(file) if isinstance(node, ast.Attribute)}
        assert "GraphModule" not in attributes, file
        roots = {found.split(".")[0] for found in imports(file)}
        assert not roots & {"pickle", "joblib", "marshal", "shelve", "dill", "cloudpickle"}, file
        for call in calls:
            if not (isinstance(call.func, ast.Attribute) and call.func.attr == "load"):
                continue
            owner, words = ast.unparse(call.func.value), {word.arg: ast.unparse(word.value) for word in call.keywords}
            if owner == "torch":
                assert words["weights_only"] == "True", file
            elif owner in ("np", "numpy"):
                assert words["allow_pickle"] == "False", file
            elif owner in ("torch.jit", "torch.export"):  # code of a bundle, whose digest has been checked
                assert installed_name(file) == "scoreline.pipeline.model.loading", file


def test_every_file_has_a_docstring() -> None:
    """At the top."""
    assert not [file for file in SOURCES if not ast.get_docstring(parsed(file))]


def test_one_file_imports_onnxruntime() -> None:
    """The one that disables its telemetry first."""
    for file in SOURCES:
        if installed_name(file) != "scoreline.pipeline.model.onnx_runtime":
            assert "onnxruntime" not in {found.split(".")[0] for found in imports(file)}, file
            assert not {"onnxruntime"} & {node.value for node in nodes(file) if isinstance(node, ast.Constant)}, file


def test_one_file_imports_ray() -> None:
    """Within its functions, so that other runs do not wait for it."""
    for file in SOURCES:
        assert "ray" not in {found.split(".")[0] for found in imports(file, everywhere=False)}, file
        if installed_name(file) != "scoreline.pipeline.engines.ray_cluster":
            assert "ray" not in {found.split(".")[0] for found in imports(file)}, file


def test_one_file_imports_duckdb() -> None:
    """The one that locks its settings first; others only for types."""
    for file in SOURCES:
        if installed_name(file) != "scoreline.pipeline.features.expressions.duckdb_connection":
            blocks = [
                node for node in nodes(file) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            ]
            for_types = {inner for block in blocks for inner in ast.walk(block)}
            found = [
                node for node in nodes(file) if isinstance(node, ast.Import | ast.ImportFrom) and node not in for_types
            ]
            assert not [node for node in found if "duckdb" in ast.unparse(node).split()], file


def test_libraries_for_tables_stay_beside_them() -> None:
    """In the folders that runs enter only for a table."""
    tables = (".tables.delta", ".tables.iceberg")
    for file in SOURCES:
        if file.parent.name != "tables":
            assert not {found.split(".")[0] for found in imports(file)} & {"deltalake", "pyiceberg"}, file
            assert not [found for found in imports(file, everywhere=False) if found.endswith(tables)], file
