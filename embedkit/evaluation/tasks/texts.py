"""All texts of a task, as TF-IDF needs them to know how rare a word is."""

from collections.abc import Iterator
from typing import Any

from mteb.abstasks import AbsTask


def texts_of(task: AbsTask) -> list[str]:
    """The distinct texts a loaded task holds, in the order met; empty where it holds none.

    A task of embedkit's own says them itself through its method `texts`.
    """
    own = getattr(task, "texts", None)
    found = own() if callable(own) else _texts(task.dataset)
    return list(dict.fromkeys(text for text in found if isinstance(text, str)))


def _texts(held: Any) -> Iterator[Any]:
    """Every string in datasets, however mteb nests them: by subset, by split, by corpus and queries."""
    if hasattr(held, "column_names") and not isinstance(held, dict):
        for name in held.column_names:
            if name != "id":
                yield from _flat(held[name])
    elif isinstance(held, dict):
        for name, value in held.items():
            if name not in {"relevant_docs", "top_ranked"}:
                yield from _texts(value)


def _flat(column: Any) -> Iterator[Any]:
    for value in column:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value
