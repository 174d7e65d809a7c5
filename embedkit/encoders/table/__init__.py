"""Whole tables as input: reading them, and writing them as text that fits an encoder."""

from embedkit.encoders.table.files import SUFFIXES, ReadTable, read_tables
from embedkit.encoders.table.serialise import Serialised, chunk_table, column_wise, row_wise
from embedkit.encoders.table.table import Table, as_table

__all__ = [
    "SUFFIXES",
    "ReadTable",
    "Serialised",
    "Table",
    "as_table",
    "chunk_table",
    "column_wise",
    "read_tables",
    "row_wise",
]
