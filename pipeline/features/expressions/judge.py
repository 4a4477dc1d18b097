"""Judges an expression by its parsed tree: every node and every function is on a list, every column is one of the row,
and the size of its value is bounded. Nothing is evaluated.

The same function judges expressions when a bundle is saved, packed and loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .functions import LITERALS, MOST_WILDCARDS, REASONS, RESCANNING, SIZES, TYPES
from .sizes import (
    ELEMENT,
    FIXED,
    MARKS,
    MOST_IN_RANGE,
    MOST_PADDED,
    MOST_PLUS,
    MOST_REPEATED,
    MOST_TIMES,
    SLOT,
    Bound,
    largest,
    together,
)
from .tree import Node, RefusedError, children, is_literal, kind_of_node, literal, select_list

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Operators whose result is true or false.
_TRUE_OR_FALSE = ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_NOT", "COMPARE_IN", "COMPARE_NOT_IN")
#: Operators whose result is a part of their first operand, or the operand itself.
_PARTS = ("ARRAY_EXTRACT", "ARRAY_SLICE", "STRUCT_EXTRACT", "OPERATOR_NULLIF", "OPERATOR_TRY")
_OPERATORS = (*_TRUE_OR_FALSE, *_PARTS, "OPERATOR_COALESCE", "ARRAY_CONSTRUCTOR")
_TEXTS = ("varchar", "text", "string", "char", "bpchar")
#: Functions of DuckDB that are macros and use an argument several times, so that nested calls grow exponentially.
MACROS = frozenset({"nullif", "array_pop_back", "array_pop_front", "split_part", "array_to_string"})
#: The longest name of a field of a struct: as text, a struct has the names of its fields.
MOST_FIELD_NAME = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """An allowed expression: its tree, the columns that it reads, the bound of its size, and that of the largest value
    on the way to it. `rescanned`: the bound of the longest text that is searched again from every match, None if there
    is none."""

    node: Node
    columns: tuple[str, ...]
    bound: Bound
    peak: Bound
    rescanned: Bound | None = None


def judge(connection: DuckDBPyConnection, sql: str, columns: Mapping[str, Bound]) -> Judged:
    """Judge one expression.

    Args:
        columns: the columns that it may read, and the bound of their values: `FIXED` where these have a fixed size.

    Raises:
        RefusedError: it is not allowed; says why.
    """
    nodes = select_list(connection, selected(sql), None)
    if len(nodes) != 1:
        raise RefusedError("is not a single expression")
    walk = _Walk(connection=connection, columns=columns)
    bound = walk.bound(nodes[0])
    if not walk.read:
        raise RefusedError("reads no column, so it is the same for every row")
    return Judged(node=nodes[0], columns=tuple(walk.read), bound=bound, peak=walk.peak, rescanned=walk.rescanned)


def selected(sql: str) -> str:
    """The statement that selects an expression. Its line ends close a comment in the text."""
    return f"SELECT (\n{sql}\n)"


def resolve(name: str, columns: Collection[str]) -> str:
    """The column that a name means: the one with exactly this name, or the only one with this name in another case.

    Raises:
        RefusedError: there is none, or there are several.
    """
    if name in columns:
        return name
    similar = [column for column in columns if column.lower() == name.lower()]
    if len(similar) == 1:
        return similar[0]
    if similar:
        raise RefusedError(f"reads {name!r}, but the columns are {' and '.join(map(repr, similar))}; match the case")
    if name.lower() in REASONS:
        raise RefusedError(f"uses {name}, which {REASONS[name.lower()]}")
    raise RefusedError(f"reads {name!r}, which is not a column of the sample")


@dataclass(kw_only=True, slots=True)
class _Walk:
    connection: DuckDBPyConnection
    columns: Mapping[str, Bound]
    #: The columns that are read, in order of their first use.
    read: dict[str, None] = field(default_factory=dict)
    #: The parameters of the lambda that the walk is in.
    parameters: tuple[str, ...] = ()
    #: The macro of DuckDB whose arguments the walk is in.
    macro: str | None = None
    #: The largest bound of a part.
    peak: Bound = FIXED
    #: The bound of the longest text that is searched again from every match.
    rescanned: Bound | None = None

    def bound(self, node: Node) -> Bound:
        """Judge a node and everything below it; the bound of its size."""
        found = self._bound(node)
        if found.times > MOST_TIMES or found.plus > MOST_PLUS:
            raise RefusedError(
                f"can make values of {found.times} × the bytes of a row + {found.plus:,} bytes; the limit is"
                f" {MOST_TIMES} × + {MOST_PLUS:,}"
            )
        self.peak = largest(self.peak, found)
        return found

    def _bound(self, node: Node) -> Bound:
        match kind_of_node(node):
            case "COLUMN_REF":
                return self._column(node)
            case "CONSTANT":
                return Bound(plus=SLOT + len(str(node["literal"]["text"]).encode()))
            case "FUNCTION":
                return self._function(node)
            case "CAST":
                return self._cast(node)
            case "LAMBDA":
                raise RefusedError("contains a lambda or -> outside of a list function; for JSON, use ->>")
            case "TYPE":
                raise RefusedError("contains a type where a value is expected")
        bounds = [self.bound(child) for child in children(node)]
        if node["class"] in ("BETWEEN", "COMPARISON", "CONJUNCTION"):
            return FIXED
        if node["class"] == "OPERATOR":
            if node["type"] not in _OPERATORS:
                raise RefusedError(f"uses {node['type']}, which is not on the list of operators")
            if node["type"] in _PARTS:
                return bounds[0]
            return FIXED if node["type"] in _TRUE_OR_FALSE else together(bounds)
        return together(bounds)

    def _column(self, node: Node) -> Bound:
        name = node["column_names"][0]
        if name in self.parameters:
            return ELEMENT
        column = resolve(name, self.columns)
        if self.parameters and self.columns[column] is not FIXED:
            raise RefusedError(
                f"reads {column!r} for every element of a list, where only numbers, dates and times of the row may be"
                " read"
            )
        self.read[column] = None
        return self.columns[column]

    def _cast(self, node: Node) -> Bound:
        child, target = self.bound(node["child"]), _type_name(node["type_expr"])
        if target in _TEXTS:  # a date or a number of 16 bytes takes at most 40 as text
            return Bound(times=child.as_text * child.times, plus=40 + child.as_text * child.plus + child.names)
        return child.scaled(17) if target in ("list", "struct", "row") else child

    def _function(self, node: Node) -> Bound:
        name = str(node["function_name"]).lower()
        if len(node["qualified_name"]["path"]) != 1:
            path = ".".join(node["qualified_name"]["path"])
            raise RefusedError(f"calls {path}; write the call without a dot, as {name}(…)")
        if name not in SIZES:
            raise RefusedError(f"calls {name}, which {REASONS.get(name) or self._why(name)}")
        arguments = [argument["expression"] for argument in node["arguments"]]
        if any(argument["name"] for argument in node["arguments"]) and name != "struct_pack":
            raise RefusedError(f"calls {name} with named arguments")
        if any(len(str(argument["name"] or "")) > MOST_FIELD_NAME for argument in node["arguments"]):
            raise RefusedError(f"names a field of a struct with more than {MOST_FIELD_NAME} characters")
        for index in LITERALS.get(name, ()):
            if index < len(arguments) and not is_literal(arguments[index]):
                raise RefusedError(f"calls {name}, whose argument {index + 1} must be a literal")
        if ("~~" in name or name.endswith("like_escape")) and _wildcards(arguments) > MOST_WILDCARDS:
            raise RefusedError(f"matches a pattern with more than {MOST_WILDCARDS} wildcards; use regexp_matches")
        if name == "age" and len(arguments) != 2:
            raise RefusedError("calls age with one argument, which reads the clock; pass both timestamps")
        if name.startswith(("json_", "->>")) and any("*" in str(literal(one)) for one in arguments[1:]):
            raise RefusedError(f"calls {name} with a path that matches several values")
        if SIZES[name] in ("filter", "apply"):
            return self._list_function(name, arguments)
        outer = self.macro
        if name in MACROS:
            if outer is not None:
                raise RefusedError(f"calls {name} within {outer}, which DuckDB would write out again and again")
            self.macro = name
        bounds = [self.bound(one) for one in arguments]
        self.macro = outer
        if name in RESCANNING and bounds:
            self.rescanned = largest(bounds[0], self.rescanned or bounds[0])
        found = _size(name, arguments, bounds)
        names = sum(len(str(argument["name"] or "").encode()) + MARKS for argument in node["arguments"])
        return replace(found, names=found.names + names) if name == "struct_pack" else found

    def _why(self, name: str) -> str:
        """Why a function that is not on the list is refused."""
        query = "SELECT count(*) FROM duckdb_functions() WHERE function_type = 'aggregate' AND function_name = ?"
        if self.connection.execute(query, [name]).fetchall()[0][0]:
            return "is an aggregate: it mixes rows"
        return "is not on the list of functions; see docs/reference/expressions.md"

    def _list_function(self, name: str, arguments: list[Node]) -> Bound:
        if len(arguments) != 2 or arguments[1].get("class") != "LAMBDA":
            raise RefusedError(f"calls {name} without a list and a lambda")
        if self.parameters:
            raise RefusedError("nests list functions, whose time would grow with the product of the lists' lengths")
        of_list, function = self.bound(arguments[0]), arguments[1]
        kind_of_node(function)
        names = _parameters(function["lhs"], self.columns)
        inner = _Walk(
            connection=self.connection, columns=self.columns, read=self.read, parameters=names, macro=self.macro
        )
        element = inner.bound(function["expr"])
        self.peak = largest(self.peak, inner.peak)
        if inner.rescanned is not None:  # of all elements together: at most the square of the list
            self.rescanned = largest(of_list.scaled(inner.rescanned.times or 1), self.rescanned or inner.rescanned)
        return of_list if SIZES[name] == "filter" else of_list.of_elements(element)


def _wildcards(arguments: list[Node]) -> int:
    pattern = str(literal(arguments[1])) if len(arguments) > 1 else ""
    return pattern.count("%") + pattern.count("*")


def _parameters(node: Node, columns: Collection[str]) -> tuple[str, ...]:
    nodes = list(children(node)) if node.get("class") == "FUNCTION" and node["function_name"] == "row" else [node]
    names = [
        one["column_names"][0] for one in nodes if kind_of_node(one) == "COLUMN_REF" and len(one["column_names"]) == 1
    ]
    if len(names) < len(nodes) or not names:
        raise RefusedError("contains a lambda whose parameters are not names")
    taken = [name for name in names for column in columns if column.lower() == name.lower()]
    if taken:
        raise RefusedError(f"contains a lambda whose parameter {taken[0]!r} is also a column; rename the parameter")
    return tuple(names)


def _type_name(node: Node) -> str:
    kind_of_node(node)
    name = str(node["type_name"]).lower()
    if name not in TYPES or len(node["qualified_name"]["path"]) != 1:
        raise RefusedError(f"casts to {node['type_name']}, which is not supported")
    for child in node["children"]:
        if kind_of_node(child) == "TYPE":
            _type_name(child)
        elif child["class"] != "CONSTANT":
            raise RefusedError(f"casts to {node['type_name']} with an argument that is not a literal")
    return name


def _size(name: str, arguments: list[Node], bounds: list[Bound]) -> Bound:
    """The bound of a function's result."""
    size, values, all_of_them = SIZES[name], [literal(one) for one in arguments], together(bounds)

    def number(index: int, most: int) -> int:
        value = values[index] if index < len(values) else None
        if not isinstance(value, int) or abs(value) > most:
            raise RefusedError(f"calls {name}, whose argument {index + 1} must be a literal of at most {most:,}")
        return max(0, value)

    def length(index: int) -> int:
        return len(str(values[index]).encode()) if index < len(values) else 0

    match size:
        case "fixed":
            return FIXED
        case "short":
            return Bound(plus=SLOT + 80)
        case "group" if len(values) > 2 and not isinstance(values[2], int):
            raise RefusedError(f"calls {name}, whose argument 3 must be the number of a group")
        case "part" | "group":
            return bounds[0] if bounds else FIXED
        case "sum":
            return all_of_them
        case "separator":
            return all_of_them.scaled(len(arguments) + length(LITERALS[name][0]))
        case "replace":
            return all_of_them.scaled(1 + length(2))
        case "pad":
            return Bound(plus=SLOT + 4 * number(1, MOST_PADDED))
        case "repeat":
            return all_of_them.scaled(max(1, number(1, MOST_REPEATED)))
        case "range":
            ends = [number(index, MOST_IN_RANGE) for index in range(len(arguments))]
            return Bound(plus=SLOT * (2 + max(ends, default=0)) * (2 if any("-" in str(v) for v in values) else 1))
        case "strftime":
            lengths = [length(index) for index, value in enumerate(values) if isinstance(value, str)]
            if not lengths:
                raise RefusedError("calls strftime, whose format must be a literal")
            return Bound(plus=SLOT + 64 * max(lengths))
    assert isinstance(size, int), "the others are handled by their names"
    return all_of_them.scaled(size)
