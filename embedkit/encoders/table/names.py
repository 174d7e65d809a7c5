"""Names of columns: abbreviations and what they stand for, and names that many tables share."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.encoders.table.table import Table
from embedkit.errors import InputError

__all__ = ["HeaderPair", "abbreviate", "header_pairs", "shared_names"]

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W_]+")
_VOWELS = re.compile(r"(?<=.)[aeiou]")
_SHORT = 3  # letters of a word that stays whole: id, sex, age
_NAMELESS = re.compile(r"column \d+(?: \(\d+\))?")


@dataclass(frozen=True, slots=True)
class HeaderPair:
    """A column's name in a schema, and the same name in words.

    Attributes:
        database: Name of the database.
        table: Name of the table in the schema.
        column: Name of the column in the schema: "StuID".
        expansion: The name in words: "student id".
    """

    database: str
    table: str
    column: str
    expansion: str


def header_pairs(path: Path) -> list[HeaderPair]:
    """Pairs of abbreviation and expansion from a schema file of the text-to-SQL benchmark Spider.

    Such a file gives each column twice: as the schema spells it (`column_names_original`) and in words
    (`column_names`). A pair counts when the two differ in more than case and separators: after lower-casing and
    dropping all that is neither letter nor digit. Each column counts once, also where another has the same pair.

    Args:
        path: A `tables.json` of Spider, or of a data set in its format.

    Returns:
        The pairs, in the order of the file.

    Raises:
        InputError: The file is not JSON, or not in Spider's format.
        OSError: The file cannot be opened.

    Example:
        >>> import tempfile
        >>> schema = {"db_id": "school", "table_names_original": ["Student"]}
        >>> schema["column_names_original"] = [[-1, "*"], [0, "StuID"], [0, "First_Name"]]
        >>> schema["column_names"] = [[-1, "*"], [0, "student id"], [0, "first name"]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "tables.json")
        ...     _ = path.write_text(json.dumps([schema]))
        ...     header_pairs(path)
        [HeaderPair(database='school', table='Student', column='StuID', expansion='student id')]

    Reference:
        Yu et al.: "Spider: A Large-Scale Human-Labeled Dataset for Complex and Cross-Domain Semantic Parsing and
        Text-to-SQL Task", EMNLP 2018.

    Deviations:
        None.
    """
    path = Path(path)
    try:
        databases = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} must be JSON in UTF-8: {error}") from None
    if not isinstance(databases, list):
        raise InputError(f"{path} must hold a list of schemas, as Spider's tables.json; it is {_kind(databases)}")
    pairs: list[HeaderPair] = []
    for position, schema in enumerate(databases):
        try:
            pairs += _schema_pairs(schema)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            wanted = "db_id, table_names_original, and column_names_original as long as column_names"
            message = f"{path}: schema {position} must have {wanted}, as in Spider's tables.json; {error!r}"
            raise InputError(message) from None
    return pairs


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"


def _schema_pairs(schema: Any) -> list[HeaderPair]:
    spelled = zip(schema["column_names_original"], schema["column_names"], strict=True)
    return [
        HeaderPair(schema["db_id"], schema["table_names_original"][table], column, expansion)
        for (table, column), (_, expansion) in spelled
        if table >= 0 and _bare(column) != _bare(expansion)  # -1 is the * of all tables
    ]


def _bare(name: str) -> str:
    """A name without case and separators."""
    return "".join(filter(str.isalnum, name.lower()))


def abbreviate(name: str) -> str:
    """A name as hurried schemas would write it, by one rule, for tables whose real abbreviations nobody knows.

    The name is split into words where it has a space, an underscore or another separator, and where camelCase has its
    humps. Words of more than 3 letters lose a, e, i, o and u after their first letter. All is lower-cased and joined
    by "_". A name may stay as it is ("id"), and a second abbreviation changes nothing.

    Args:
        name: A column's name.

    Returns:
        The abbreviation; the name itself when it has no letter and no digit.

    Example:
        >>> abbreviate("Student ID"), abbreviate("homeTown"), abbreviate("id")
        ('stdnt_id', 'hm_twn', 'id')
    """
    words = _WORD.findall(_CAMEL.sub("_", name))
    short = [word if len(word) <= _SHORT else _VOWELS.sub("", word) for word in map(str.lower, words)]
    return "_".join(short) or name


def shared_names(tables: Sequence[Table], *, min_tables: int) -> dict[str, list[tuple[int, int]]]:
    """Columns grouped by name, where many tables use that name: a stand-in for labelled semantic types.

    Names are the same when they agree after lower-casing and dropping all that is neither letter nor digit:
    "First_Name" and "first name" are "firstname". Names that `as_table` gives to columns without one ("column 3")
    are no names here.

    Args:
        tables: The tables.
        min_tables: Fewest different tables in which a name must occur.

    Returns:
        For each such name, in the order of first occurrence, the columns that bear it: positions of table and column.

    Raises:
        InputError: `min_tables` is below 1.

    Example:
        >>> people, places = Table("", ("Name", "age"), ()), Table("", ("zip", "name"), ())
        >>> shared_names([people, places], min_tables=2)
        {'name': [(0, 0), (1, 1)]}
    """
    if min_tables < 1:
        raise InputError(f"min_tables must be at least 1; received {min_tables}")
    found: dict[str, list[tuple[int, int]]] = {}
    for position, table in enumerate(tables):
        for column, name in enumerate(table.columns):
            if (bare := _bare(name)) and not _NAMELESS.fullmatch(name):
                found.setdefault(bare, []).append((position, column))
    return {name: places for name, places in found.items() if len({table for table, _ in places}) >= min_tables}
