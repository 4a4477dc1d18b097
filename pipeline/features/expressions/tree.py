"""The parsed tree of an expression, as `json_serialize_sql` of DuckDB 2 returns it: reads its nodes, and refuses every
field that it does not know. Independent of which functions are allowed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import BundleError, one_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Node = Mapping[str, Any]
#: Fields without a meaning for the value.
_PLACES = {"class", "type", "alias", "query_location", "query_location_length"}
#: The fields of each class of nodes that hold other nodes or values.
FIELDS: Mapping[str, frozenset[str]] = {
    "BETWEEN": frozenset({"input", "lower", "upper"}),
    "CASE": frozenset({"case_checks", "else_expr"}),
    "CAST": frozenset({"child", "try_cast", "type_expr"}),
    "COLUMN_REF": frozenset({"column_names"}),
    "COMPARISON": frozenset({"left", "right"}),
    "CONJUNCTION": frozenset({"children"}),
    "CONSTANT": frozenset({"literal"}),
    "FUNCTION": frozenset(
        {"function_name", "order_bys", "is_operator", "arguments", "qualified_name", "schema", "catalog"}
    ),
    "LAMBDA": frozenset({"lhs", "expr", "syntax_type"}),
    "OPERATOR": frozenset({"children"}),
    "TYPE": frozenset({"type_name", "children", "qualified_name"}),
}
_SELECT = {"type", "cte_map", "select_list", "from_table", "aggregate_handling"}
_NAMES = {
    "COLLATE": "a collation",
    "DEFAULT": "DEFAULT",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by its position",
    "STAR": "a star, which names columns that are not known here",
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function, which mixes rows",
}


class RefusedError(ValueError):
    """Why an expression is refused, without its name."""


def select_list(connection: DuckDBPyConnection, statement: str, table: str | None) -> list[Node]:
    """The expressions that a statement selects, as nodes. Nothing is executed.

    Args:
        table: the only table that it selects from; None if it has none.

    Raises:
        RefusedError: it is not a single SELECT of expressions.
    """
    try:
        (text,) = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()[0]
        tree = json.loads(text)
    except RecursionError as error:
        raise RefusedError("is nested too deeply") from error
    except Exception as error:  # whatever DuckDB raises while it parses
        raise RefusedError(f"cannot be parsed: {cause(error)}") from error
    if tree["error"]:
        if "Only SELECT" in tree["error_message"]:
            raise RefusedError("is not a single expression: it contains another statement")
        raise RefusedError(f"cannot be parsed: {first_paragraph(tree['error_message'])}")
    if len(tree["statements"]) != 1:
        raise RefusedError("is not a single expression: it contains another statement")
    node = tree["statements"][0]["node"]
    used = {name for name, value in node.items() if not _is_empty(value)} - {"modifiers"}
    if node["type"] != "SELECT_NODE" or used - _SELECT or node.get("modifiers") or not _is_empty(node["cte_map"]):
        raise RefusedError("is not a single expression: it contains a clause of a query")
    if node["aggregate_handling"] != "STANDARD_HANDLING" or not _is_from(node["from_table"], table):
        raise RefusedError("is not a single expression: it names a table")
    found: list[Node] = node["select_list"]
    return found


def _is_from(node: Node, table: str | None) -> bool:
    if table is None:
        return bool(node["type"] == "EMPTY" and not node["alias"])
    named = node["type"] == "BASE_TABLE" and node["qualified_name"] == {"path": [table]} and not node["alias"]
    return bool(named and not any(node[name] for name in ("schema_name", "catalog_name", "sample", "at_clause")))


def without_places(node: Any) -> Any:
    """The node without the positions in the text and the name of the result, to compare trees."""
    if isinstance(node, Mapping):
        places = {"query_location", "query_location_length", "alias"}
        return {name: without_places(value) for name, value in node.items() if name not in places}
    return [without_places(one) for one in node] if isinstance(node, list) else node


def kind_of_node(node: Node) -> str:
    """The class of a node.

    Raises:
        RefusedError: the class, or one of its fields, is not one that expressions may have.
    """
    kind = str(node.get("class"))
    if kind not in FIELDS:
        raise RefusedError(f"contains {_NAMES.get(kind, kind)}")
    unknown = [name for name, value in node.items() if name not in FIELDS[kind] | _PLACES and not _is_empty(value)]
    if unknown:
        raise RefusedError(f"uses {unknown[0]}, which is not supported")
    if kind == "FUNCTION" and node["order_bys"].get("orders"):
        raise RefusedError("uses ORDER BY, which mixes rows")
    return kind


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node, in order, without those of types."""
    match node["class"]:
        case "BETWEEN":
            yield from (node["input"], node["lower"], node["upper"])
        case "CASE":
            for check in node["case_checks"]:
                yield from (check["when_expr"], check["then_expr"])
            yield node["else_expr"]
        case "CAST":
            yield node["child"]
        case "COMPARISON":
            yield from (node["left"], node["right"])
        case "CONJUNCTION" | "OPERATOR":
            yield from node["children"]
        case "FUNCTION":
            yield from (argument["expression"] for argument in node["arguments"])
        case "LAMBDA":
            yield node["expr"]


def literal(node: Node) -> str | int | None:
    """The value of a literal text or whole number; None for anything else."""
    if node.get("class") != "CONSTANT":
        return None
    value = node["literal"]
    if value["kind"] == "INTEGER":
        return int(value["text"])
    return str(value["text"]) if value["kind"] == "STRING" else None


def is_literal(node: Node) -> bool:
    """Whether a node is a constant, or a list of constants."""
    if node.get("class") == "FUNCTION" and node["function_name"] == "list_value":
        return all(is_literal(argument["expression"]) for argument in node["arguments"])
    return node.get("class") == "CONSTANT"


def _is_empty(value: Any) -> bool:
    return value in (None, "", False, [], {}) or value == {"map": []}


def first_paragraph(message: str) -> str:
    """The cause in an error message of DuckDB, without the statement that it repeats and advice on its settings."""
    text = one_line(ValueError(message.partition("\n")[0]))
    return text.partition(". Use ")[0]


def cause(error: BaseException) -> str:
    """The cause of an error of DuckDB, on one line."""
    return first_paragraph(str(error)) or type(error).__name__


def refuse(name: str, error: RefusedError) -> BundleError:
    """The error for an expression that is refused."""
    return BundleError(f"expression {name!r} {error}")
