"""What the tasks are given, checked."""

from embedkit.errors import InputError

__all__ = ["check_draw", "check_word"]


def check_draw(seed: int, max_per_function: int = 1) -> None:
    """Check what every draw takes.

    Raises:
        InputError: The seed is negative, or there may be no change at all.
    """
    for name, value, least in (("seed", seed, 0), ("max_per_function", max_per_function, 1)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be an integer of {least} or more; received {value!r}")


def check_word(name: str, value: str, words: tuple[str, ...]) -> None:
    """Check an argument that is one of some words.

    Raises:
        InputError: It is none of them.
    """
    if value not in words:
        raise InputError(f"{name} must be one of {', '.join(map(repr, words))}; received {value!r}")
