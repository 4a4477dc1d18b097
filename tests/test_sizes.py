"""Files, classes and functions stay small enough to be read at once, and take few arguments."""

import ast
from itertools import chain

from test_walls import SOURCES, nodes

FILE_LINES, CLASS_LINES, FUNCTION_LINES = 350, 250, 60
PARAMETERS = 8
#: What has more parameters: the front door, and Click commands, which get one for each flag.
MORE_PARAMETERS = {"save_bundle": 10}


def num_lines(node: ast.AST) -> int:
    """Its lines, without decorators."""
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def num_parameters(function: ast.FunctionDef) -> int:
    """Its parameters, without `self`."""
    names = [given.arg for given in chain(function.args.posonlyargs, function.args.args, function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def is_command(function: ast.FunctionDef) -> bool:
    """Whether it is a Click command."""
    return any("click.command" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_files_classes_and_functions() -> None:
    """A larger one is named with its lines."""
    found = [f"{file}: {lines}" for file in SOURCES if (lines := len(file.read_text().splitlines())) > FILE_LINES]
    for file in SOURCES:
        for node in nodes(file):
            most = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and num_lines(node) > most:
                found.append(f"{file}: {node.name}: {num_lines(node)} lines")
    assert not found


def test_parameters() -> None:
    """A function with more is named with their number."""
    found = []
    for file in SOURCES:
        for node in nodes(file):
            if not isinstance(node, ast.FunctionDef) or is_command(node):
                continue
            if num_parameters(node) > MORE_PARAMETERS.get(node.name, PARAMETERS):
                found.append(f"{file}: {node.name}: {num_parameters(node)}")
    assert not found
