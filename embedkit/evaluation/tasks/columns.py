"""Which column of a file is what, and what its cells say; the tables are in `files`."""

import itertools
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from embedkit.errors import InputError
from embedkit.evaluation.tasks.reading import Rows, some
from embedkit.index.ids import is_unicode

Columns: TypeAlias = dict[str, list[Any]]
"""Field → one value a row."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "sts": ("sentence1", "sentence2", "score"),
    "pair_classification": ("sentence1", "sentence2", "label"),
    "classification": ("text", "label"),
    "multilabel": ("text", "labels"),
    "clustering": ("text", "cluster"),
    "retrieval": ("query", "document"),
    "reranking": ("query", "positive", "negative"),
}
MAY: Mapping[str, tuple[str, ...]] = {
    "classification": ("split",),
    "multilabel": ("split",),
    "retrieval": ("title", "grade", "distractors"),
}
_ALSO: Mapping[str, tuple[str, ...]] = {
    "sentence1": ("s1", "text1", "sentence_1", "text_1", "sentence_a", "text_a", "premise", "question1"),
    "sentence2": ("s2", "text2", "sentence_2", "text_2", "sentence_b", "text_b", "hypothesis", "question2"),
    "score": ("similarity", "similarity_score"),
    "text": ("sentence", "utterance", "content"),
    "label": ("category", "intent", "class", "topic"),
    "labels": ("categories", "intents", "classes", "topics", "tags"),
    "cluster": ("cluster_id",),
    "query": ("question",),
    "document": ("passage", "answer", "text"),
    "positive": ("positives", "pos"),
    "negative": ("negatives", "neg"),
    "grade": ("relevance", "score", "label"),
}
FIELDS = tuple(dict.fromkeys(itertools.chain(*NEEDS.values(), *MAY.values())))
_MAY_BE_BLANK = ("title", "distractors")
_NOT_A_NUMBER = ("nan", "na", "n/a", "null", "none")
_WHOLE = re.compile(r"([+-]?\d+)\.0+")


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of `files.tasks_from`."""

    kind: str | None
    columns: Mapping[str, str]
    seed: int
    language: str
    drop_blank: bool


def kind_of(rows: Rows, options: Options) -> str:
    """The only kind of task that the columns fit.

    Raises:
        InputError: They fit none, or several.
    """
    fits = [kind for kind, fields in NEEDS.items() if all(_headers(rows, field, options) for field in fields)]
    if len(fits) == 1:
        return fits[0]
    found = ", ".join(map(repr, rows.names))
    if fits:
        message = f"{rows.path}: the columns {found} fit {' and '.join(fits)}; say which it is with kind (--kind)"
        raise InputError(message)
    needs = "; ".join(f"{kind} needs {', '.join(fields)}" for kind, fields in NEEDS.items())
    message = (
        f"{rows.path}: the columns must say what the data is; found {found:.500}. {needs}. The first line names the "
        "columns; rename them, or pass columns={'text': 'your name', …} (--column text='your name')"
    )
    raise InputError(message)


def _headers(rows: Rows, field: str, options: Options) -> list[str]:
    """The columns that could be this field: the one that was named, else all that go by one of its names."""
    if field in options.columns:
        return [name for name in rows.names if name == options.columns[field]]
    taken = set(options.columns.values())
    words = {field, *_ALSO.get(field, ())}
    return [name for name in rows.names if name not in taken and _word(name) in words]


def _word(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip()).lower()


def _header(rows: Rows, kind: str, field: str, options: Options, *, needed: bool) -> str | None:
    found = _headers(rows, field, options)
    if len(found) == 1:
        return found[0]
    columns = ", ".join(map(repr, rows.names))
    if found:
        message = (
            f"{rows.path}: {' and '.join(map(repr, found))} could both be {field!r}; name one with columns (--column)"
        )
        raise InputError(message)
    if needed:
        wanted = options.columns.get(field, field)
        message = (
            f"{rows.path}: {kind} needs a column {wanted!r}; found {columns:.500}: rename one, or use columns "
            "(--column)"
        )
        raise InputError(message)
    return None


def read_columns(rows: Rows, kind: str, needs: Sequence[str], may: Sequence[str], options: Options) -> Columns:
    """The values of the fields a kind needs and may have: blank rows refused or left out, every cell checked.

    Raises:
        InputError: A column is missing, two could be one field, or a cell is not what it should be.
    """
    headers = {field: _header(rows, kind, field, options, needed=True) for field in needs}
    headers |= {field: _header(rows, kind, field, options, needed=False) for field in may}
    found = {field: header for field, header in headers.items() if header is not None}
    rows = _without_blanks(rows, found, drop=options.drop_blank)
    return {field: _column(rows, field, header) for field, header in found.items()}


def _without_blanks(rows: Rows, headers: Mapping[str, str], *, drop: bool) -> Rows:
    blank: set[int] = set()
    for field, header in headers.items():
        if field in _MAY_BE_BLANK:
            continue
        here = [row for row, values in enumerate(rows.values) if _is_blank(field, values[header])]
        if here and not drop:
            message = (
                f"{rows.path}: {header!r} must not be blank; it is in {some([rows.places[row] for row in here])}: "
                "fill it, or leave such rows out with drop_blank (--drop-blank)"
            )
            raise InputError(message)
        blank.update(here)
    if not blank:
        return rows
    kept = [row for row in range(len(rows.values)) if row not in blank]
    if not kept:
        message = f"{rows.path} must hold rows without blanks; all {len(rows.values):,} have one"
        raise InputError(message)
    places = some([rows.places[row] for row in sorted(blank)])
    warnings.warn(f"{rows.path}: left out {len(blank):,} rows with blanks ({places})", stacklevel=2)
    return replace(rows, values=[rows.values[row] for row in kept], places=[rows.places[row] for row in kept])


def _is_blank(field: str, value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        return not word or (field in {"score", "grade"} and word in _NOT_A_NUMBER)
    if isinstance(value, list):
        return not value and field in {"positive", "negative"}
    return value is None or (isinstance(value, float) and math.isnan(value))


def _column(rows: Rows, field: str, header: str) -> list[Any]:
    read: Callable[[Any], Any] = _READ.get(field, _text)
    column = []
    for place, values in zip(rows.places, rows.values, strict=True):
        try:
            column.append(read(values[header]))
        except ValueError as error:
            message = f"{rows.path}, {place}: {header!r} must be {error}; received {values[header]!r:.100}"
            raise InputError(message) from None
    return column


def _text(value: Any) -> str:
    if not isinstance(value, str) or not is_unicode(value):
        message = "text"
        raise ValueError(message)
    return value


def _title(value: Any) -> str:
    return "" if _is_blank("title", value) else _text(value)


def _number(value: Any) -> float:
    message = "a finite number, with a point for decimals"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(message)  # noqa: TRY004  # one error for what is wrong with a cell
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(message) from None
    if not math.isfinite(number):
        raise ValueError(message)
    return number


def _grade(value: Any) -> int:
    number = _number(value)
    if number < 0 or number != int(number):
        message = "a whole number, 0 for not relevant and more for better"
        raise ValueError(message)
    return int(number)


def _label(value: Any) -> str:
    """A class as text; what a spreadsheet made of whole numbers, 1.0, is 1 again."""
    if not isinstance(value, str | int | float) or not is_unicode(str(value)):
        message = "a label: text or a number"
        raise ValueError(message)
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _list(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        message = "a list, or items split by |"
        raise ValueError(message)  # noqa: TRY004  # as above
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split("|") if item.strip()]
    try:
        items = json.loads(value)
    except ValueError:
        message = "a whole JSON list where it begins with ["
        raise ValueError(message) from None
    return list(items)


def _labels(value: Any) -> list[str]:
    return sorted({_label(item) for item in _list(value)})


def _texts(value: Any) -> list[str]:
    texts = [_text(item) for item in _list(value)]
    if not all(text.strip() for text in texts):
        message = "a list of texts, none of them blank"
        raise ValueError(message)
    return texts


def _more_texts(value: Any) -> list[str]:
    return [] if _is_blank("distractors", value) else _texts(value)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "score": _number,
    "grade": _grade,
    "label": _label,
    "labels": _labels,
    "cluster": _label,
    "split": _label,
    "title": _title,
    "positive": _texts,
    "negative": _texts,
    "distractors": _more_texts,
}
