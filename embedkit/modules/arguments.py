"""What the arguments of modules must be."""

from typing import Any

from embedkit.errors import InputError


def check_sizes(*, least: int = 1, **sizes: Any) -> None:
    """Check that each is an integer of at least `least`.

    Raises:
        InputError: One is not.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < least:
            message = f"{name} must be an integer from {least}; received {size!r}"
            raise InputError(message)
