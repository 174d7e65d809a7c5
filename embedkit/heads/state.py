"""What an estimator holds, as JSON and arrays of numbers: enough to build it anew without running any code it names."""

import importlib
import warnings
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from embedkit.errors import CorruptFileError, InputError

Arrays = dict[str, np.ndarray[Any, Any]]
_LARGEST = 8  # bytes of a number; there are longer ones, but files have none


def written(value: Any, place: str, arrays: Arrays) -> Any:
    """As JSON holds it; arrays of numbers are put into `arrays` and named.

    Args:
        value: A number, text, array, list, tuple, dictionary, or an estimator of scikit-learn or embedkit of these.
        place: What it is called, such as "estimator_.coef_".
        arrays: Where arrays of numbers go.

    Raises:
        InputError: It is, or holds, something else; the message says where.
    """
    if isinstance(value, np.number | np.bool_ | np.str_):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"float": repr(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= _LARGEST:
        arrays[place] = np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape)
        return {"array": place}
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO":
        flat = written(value.ravel().tolist(), place, arrays)
        return {"texts" if value.dtype.kind == "U" else "objects": [flat, list(value.shape)]}
    return _written_whole(value, place, arrays)


def _written_whole(value: Any, place: str, arrays: Arrays) -> Any:
    """What has parts."""
    if type(value) in (list, tuple):  # of a kind of these with a name more than its parts would be lost
        parts = [written(each, f"{place}.{number}", arrays) for number, each in enumerate(value)]
        return {"tuple": parts} if type(value) is tuple else parts
    if type(value) is dict:
        pairs = [
            [written(key, f"{place}.key{number}", arrays), written(each, f"{place}.{number}", arrays)]
            for number, (key, each) in enumerate(value.items())
        ]
        return {"pairs": pairs}
    if _is_known(type(value)):
        state = {name: written(each, f"{place}.{name}", arrays) for name, each in vars(value).items()}
        kind = type(value)
        return {"object": f"{kind.__module__}:{kind.__qualname__}", "version": sklearn.__version__, "state": state}
    raise InputError(
        f"what is kept must be numbers, texts, arrays, or estimators of scikit-learn and embedkit made of these; "
        f"{place} is a {type(value).__name__}: fit an estimator that keeps nothing of the kind"
    )


def read(value: Any, arrays: Arrays) -> Any:
    """What `written` was given.

    Raises:
        CorruptFileError: It names an array that is missing, or a class that is none of scikit-learn's or embedkit's.
    """
    if isinstance(value, list):
        return [read(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    kind = next(iter(value))
    held = value[kind]
    match kind:
        case "object":
            found: Any = _object(value, arrays)
        case "array":
            if held not in arrays:
                raise CorruptFileError(f"the array {held!r} is missing")
            found = arrays[held]
        case "pairs":
            found = {read(key, arrays): read(each, arrays) for key, each in held}
        case "float":
            found = float(held)
        case "tuple":
            found = tuple(read(held, arrays))
        case _:
            parts, shape = read(held, arrays)
            found = np.empty(len(parts), dtype=object)
            found[:] = parts
            found = (found.astype(str) if kind == "texts" else found).reshape(shape)
    return found


def _object(value: dict[str, Any], arrays: Arrays) -> Any:
    module, _, name = str(value["object"]).partition(":")
    try:
        kind: Any = getattr(importlib.import_module(module), name) if _is_named(module) else None
    except (ImportError, AttributeError):
        kind = None
    if not isinstance(kind, type) or not _is_known(kind):
        raise CorruptFileError(
            f"only classes of scikit-learn and heads of embedkit are built; the file names {value['object']!r}"
        )
    if module.startswith("sklearn.") and value["version"] != sklearn.__version__:
        known = {"estimator_name": name, "current_sklearn_version": sklearn.__version__}
        warnings.warn(InconsistentVersionWarning(**known, original_sklearn_version=value["version"]), stacklevel=5)
    built: Any = object.__new__(kind)
    vars(built).update({attribute: read(each, arrays) for attribute, each in value["state"].items()})
    return built


def _is_named(module: str) -> bool:
    return module.startswith(("sklearn.", "embedkit."))


def _is_known(kind: Any) -> bool:
    """Scikit-learn's estimators and the plain objects they hold, and heads; none that is compiled, such as a tree."""
    ours = kind.__module__.startswith("embedkit.") and issubclass(kind, BaseEstimator)
    return (ours or kind.__module__.startswith("sklearn.")) and kind.__new__ is object.__new__
