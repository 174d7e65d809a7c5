"""What the arguments of lookups must be."""

from collections.abc import Sequence

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes


def one_a_field(values: Sequence[int], sizes: Sequence[int], *, name: str, least: int = 1) -> list[int]:
    """Integers of at least `least`, one a field.

    Raises:
        InputError: There are more or fewer than fields, or one is not such an integer.
    """
    values = list(values)
    if len(values) != len(sizes):
        message = f"{name} must be one a field, {len(sizes)}; received {len(values)}"
        raise InputError(message)
    for field, value in enumerate(values):
        check_sizes(least=least, **{f"{name}[{field}]": value})
    return values


def check_divides(part: int, whole: int, *, name: str) -> None:
    """Check that vectors of width `whole` can be cut in `part` equal pieces.

    Raises:
        InputError: They cannot.
    """
    check_sizes(**{name: part})
    if whole % part:
        message = f"{name} must divide dim, which is {whole}; received {part}"
        raise InputError(message)
