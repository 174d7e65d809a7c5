"""What may name a document."""

import numbers
from collections import Counter
from collections.abc import Iterable

from embedkit.errors import InputError
from embedkit.types import Id

_LARGEST = 2**63 - 1


def as_ids(ids: Iterable[object], *, count: int | None = None) -> list[Id]:
    """Check ids that come from outside.

    Args:
        ids: Strings and integers; one string alone is refused, since it would be read by character.
        count: How many there must be; None accepts any number.

    Returns:
        The ids as plain `str` and `int`, in order.

    Raises:
        InputError: Wrong type, empty, out of range, repeated within the call, or not `count` of them.

    Example:
        >>> as_ids(["a", 2], count=2)
        ['a', 2]
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        message = f"ids must be a list of strings or integers; received {type(ids).__name__} {shown(ids)}"
        raise InputError(message)
    if count is not None and isinstance(ids, set | frozenset):
        message = f"ids must be in the order of the rows; received a {type(ids).__name__}, which has none"
        raise InputError(message)
    checked = [_as_id(value, position) for position, value in enumerate(ids)]
    if count is not None and len(checked) != count:
        message = f"there must be one id for each of the {count} rows; received {len(checked)} ids"
        raise InputError(message)
    if len(set(checked)) != len(checked):
        repeated = next(value for value, times in Counter(checked).items() if times > 1)
        message = f"ids must not repeat within one call; {repeated!r} does"
        raise InputError(message)
    return checked


def _as_id(value: object, position: int) -> Id:
    if isinstance(value, str) and value and is_unicode(value):
        return str.__str__(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) <= _LARGEST:
        return int(value)
    message = f"ids[{position}] must be a non-empty string or an integer of 64 bits; received {shown(value)}"
    raise InputError(message)


def shown(value: object) -> str:
    """A value as a message quotes it: the beginning, where it is long."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return "an integer of thousands of digits"


def is_unicode(value: str) -> bool:
    """Whether a string can be written as UTF-8: it holds no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
