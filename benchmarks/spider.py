"""What the benchmarks of tables share: the Spider databases, their declared keys and their spelled-out names."""

from functools import cache

from benchmarks.data import data_folder
from embedkit.encoders.table.files import read_tables
from embedkit.encoders.table.keys import ForeignKey, foreign_keys
from embedkit.encoders.table.names import HeaderPair, header_pairs
from embedkit.encoders.table.table import Table

Place = tuple[str, str]
"""Name of a database and of a table in it."""


@cache
def spider(databases: int | None = None) -> dict[Place, Table]:
    """Every table that has a row; cells that say NULL are empty.

    Args:
        databases: How many of them, by name; None for all.

    Raises:
        DataMissing: The data set is not there.
    """
    folders = sorted(data_folder("tables", "spider", "databases").iterdir())[:databases]
    paths = [path for folder in folders for path in sorted((folder / "data").glob("*.csv"))]
    read = [(path.parts[-3], each.table) for path in paths for each in read_tables(path)]
    return {(database, table.name): _without_null(table) for database, table in read if table.rows}


def _without_null(table: Table) -> Table:
    rows = [tuple("" if cell == "NULL" else cell for cell in row) for row in table.rows]
    return Table(table.name, table.columns, rows)


@cache
def spider_keys(databases: int | None = None) -> list[ForeignKey]:
    """The foreign keys that their schemas declare."""
    folders = sorted(data_folder("tables", "spider", "databases").iterdir())[:databases]
    return [key for folder in folders for key in foreign_keys(folder / "schema.sql")]


def spider_names() -> list[HeaderPair]:
    """Headers that are abbreviated, with what they stand for."""
    return header_pairs(data_folder("tables", "spider", "tables.en.json"))
