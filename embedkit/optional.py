"""Optional packages: import them where they are used, and name the extra when they are absent."""

import importlib
from types import ModuleType

from embedkit.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra installs it.

    Args:
        module: Dotted name of the module to import.
        extra: The embedkit extra whose requirements contain it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: `module` (or a parent package of it) is not installed. A package that is
            installed but fails while importing raises its own error.

    Example:
        >>> require("json", extra="none").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        message = f"{module} is needed here and is not installed: pip install 'embedkit[{extra}]'"
        raise MissingExtraError(message) from None
