"""`where`: conditions on metadata, compiled to SQL over the stored JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from embedkit.errors import InputError
from embedkit.index.ids import is_unicode, shown

Where: TypeAlias = Mapping[str, Any]
Sql: TypeAlias = tuple[str, list[Any]]

_ORDERINGS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_OPERATORS = ("eq", "ne", "in", "exists", *_ORDERINGS)
_CONSTANTS = ("'null'", "'true'", "'false'")
_MOST_FIELDS = 100  # SQLite bounds how deep an expression may be


def compile_where(where: Where) -> Sql:
    """SQL that is true for documents whose metadata satisfy every condition.

    A condition is `field: value` (equal), `field: [values]` (equal to one of them), or
    `field: {operator: value, …}` with the operators eq, ne, in, exists, gt, gte, lt and lte. Numbers
    compare with numbers and text with text; a value of another type never matches. A document without
    the field satisfies `ne` and `{"exists": False}` only.

    Args:
        where: Conditions; all must hold.

    Returns:
        The expression and its parameters.

    Raises:
        InputError: Not a mapping, an unknown operator, or a value that cannot be compared.

    Example:
        >>> compile_where({"line": {"gte": 10}})[1]
        ['$."line"', '$."line"', 10]
    """
    if not isinstance(where, Mapping) or len(where) > _MOST_FIELDS:
        message = (
            f"where must map at most {_MOST_FIELDS} fields to conditions ({{'kind': 'code'}}); received {shown(where)}"
        )
        raise InputError(message)
    conditions = [
        _condition(field, operator, value)
        for field, condition in where.items()
        for operator, value in _operators(field, condition)
    ]
    return " AND ".join(["1", *(sql for sql, _ in conditions)]), [value for _, values in conditions for value in values]


def _operators(field: Any, condition: Any) -> list[tuple[str, Any]]:
    if not isinstance(condition, Mapping):
        return [("in" if isinstance(condition, list | tuple | set | frozenset) else "eq", condition)]
    if not condition or not set(condition) <= set(_OPERATORS):
        message = f"where[{field!r}] must use the operators {', '.join(_OPERATORS)}; received {shown(dict(condition))}"
        raise InputError(message)
    return list(condition.items())


def _condition(field: Any, operator: str, value: Any) -> Sql:
    path = path_of(field)
    if operator == "exists" and isinstance(value, bool):
        return f"json_type(metadata, ?) IS {'NOT ' if value else ''}NULL", [path]
    if operator == "in" and isinstance(value, list | tuple | set | frozenset):
        return _one_of(path, field, list(value))
    if operator == "eq":
        return _one_of(path, field, [value])
    if operator == "ne":
        sql, values = _one_of(path, field, [value])
        return f"NOT {sql}", values
    if operator in _ORDERINGS and _json_types(value) and not isinstance(value, bool | None):
        return _compares(path, f"{_ORDERINGS[operator]} ?", value)
    return _refuse(field, operator, value)


def path_of(field: Any) -> str:
    """SQLite's path to a metadata field.

    Raises:
        InputError: Not a string, or one with characters that a path cannot hold.
    """
    if not isinstance(field, str) or not is_unicode(field) or not field or min(field) < " " or set(field) & {'"', "\\"}:
        message = (
            "fields of where must be non-empty strings without quotes, backslashes and control characters; "
            f"received {shown(field)}"
        )
        raise InputError(message)
    return f'$."{field}"'


def _one_of(path: str, field: Any, values: list[Any]) -> Sql:
    """Equal to one of `values`: each JSON type with its own, as JSON, so that both sides are read alike."""
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_json_types(value) or _refuse(field, "eq", value), []).append(value)
    conditions = [("0", []), *(_has_type_and_value(path, types, alike) for types, alike in by_type.items())]
    return f"({' OR '.join(sql for sql, _ in conditions)})", [one for _, bound in conditions for one in bound]


def _has_type_and_value(path: str, types: str, values: list[Any]) -> Sql:
    if types in _CONSTANTS:
        return f"json_type(metadata, ?) IS {types}", [path]
    return _compares(path, "IN (SELECT value FROM json_each(?))", values[0], json.dumps(values, ensure_ascii=False))


def _compares(path: str, comparison: str, value: Any, bound: Any = None) -> Sql:
    sql = f"coalesce(json_type(metadata, ?) IN ({_json_types(value)}) AND json_extract(metadata, ?) {comparison}, 0)"
    return sql, [path, path, value if bound is None else bound]


def _json_types(value: Any) -> str:
    """SQLite's names for the JSON types that `value` compares with; empty when there is none."""
    if value is None:
        return "'null'"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    if isinstance(value, str):
        return "'text'" if _is_text(value) else ""
    is_number = abs(value) < 2**63 if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)
    return "'integer', 'real'" if is_number else ""


def _is_text(value: str) -> bool:
    """Whether SQLite's JSON functions read this string as it is: they stop at a NUL."""
    return "\0" not in value and is_unicode(value)


def _refuse(field: Any, operator: str, value: Any) -> NoReturn:
    wanted = {"exists": "True or False", "in": "a list of values"}.get(operator, "a string or a finite number")
    message = f"where[{field!r}] {operator} must be {wanted}; received {shown(value)}"
    raise InputError(message)
