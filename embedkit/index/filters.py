"""`where`: conditions on metadata, compiled to SQL over the stored JSON."""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from embedkit.errors import InputError

Where: TypeAlias = Mapping[str, Any]
Sql: TypeAlias = tuple[str, list[Any]]

_ORDERINGS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_OPERATORS = ("eq", "ne", "in", "exists", *_ORDERINGS)


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
    if not isinstance(where, Mapping):
        message = f"where must map fields to conditions, such as {{'kind': 'code'}}; received {where!r}"
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
        message = f"where[{field!r}] must use the operators {', '.join(_OPERATORS)}; received {dict(condition)!r}"
        raise InputError(message)
    return list(condition.items())


def _condition(field: Any, operator: str, value: Any) -> Sql:
    path = _path(field)
    if operator == "exists" and isinstance(value, bool):
        return f"json_type(metadata, ?) IS {'NOT ' if value else ''}NULL", [path]
    if operator == "in" and isinstance(value, list | tuple | set | frozenset):
        alternatives = [_equals(path, field, one) for one in value]
        sql = " OR ".join(["0", *(part for part, _ in alternatives)])
        return f"({sql})", [one for _, values in alternatives for one in values]
    if operator == "eq":
        return _equals(path, field, value)
    if operator == "ne":
        sql, values = _equals(path, field, value)
        return f"NOT {sql}", values
    if operator in _ORDERINGS and _json_types(value) and not isinstance(value, bool | None):
        return _compares(path, _ORDERINGS[operator], value)
    return _refuse(field, operator, value)


def _path(field: Any) -> str:
    if not isinstance(field, str) or not field or '"' in field or "\\" in field:
        message = f"fields of where must be non-empty strings without quotes or backslashes; received {field!r}"
        raise InputError(message)
    return f'$."{field}"'


def _equals(path: str, field: Any, value: Any) -> Sql:
    types = _json_types(value)
    if not types:
        return _refuse(field, "eq", value)
    if value is None or isinstance(value, bool):
        return f"(json_type(metadata, ?) IS {types})", [path]
    return _compares(path, "=", value)


def _compares(path: str, comparison: str, value: Any) -> Sql:
    sql = f"coalesce(json_type(metadata, ?) IN ({_json_types(value)}) AND json_extract(metadata, ?) {comparison} ?, 0)"
    return sql, [path, path, value]


def _json_types(value: Any) -> str:
    """SQLite's names for the JSON types that `value` compares with; empty when there is none."""
    if value is None:
        return "'null'"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    if isinstance(value, str):
        return "'text'"
    is_number = isinstance(value, int | float) and math.isfinite(value) and abs(value) < 2**63
    return "'integer', 'real'" if is_number else ""


def _refuse(field: Any, operator: str, value: Any) -> Sql:
    wanted = {"exists": "True or False", "in": "a list of values"}.get(operator, "a string or a finite number")
    message = f"where[{field!r}] {operator} must be {wanted}; received {value!r}"
    raise InputError(message)
