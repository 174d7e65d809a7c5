"""Whole tables as input: reading them, writing them as text that fits an encoder, and what holds among columns."""

from embedkit.encoders.table.dependencies import FunctionalDependency, functional_dependencies, non_dependencies
from embedkit.encoders.table.files import SUFFIXES, ReadTable, read_tables
from embedkit.encoders.table.keys import ForeignKey, foreign_keys
from embedkit.encoders.table.names import HeaderPair, abbreviate, header_pairs, shared_names
from embedkit.encoders.table.overlap import containment, jaccard, multiset_jaccard
from embedkit.encoders.table.serialise import Serialised, chunk_table, column_wise, row_wise
from embedkit.encoders.table.table import Table, as_table

__all__ = [
    "SUFFIXES",
    "ForeignKey",
    "FunctionalDependency",
    "HeaderPair",
    "ReadTable",
    "Serialised",
    "Table",
    "abbreviate",
    "as_table",
    "chunk_table",
    "column_wise",
    "containment",
    "foreign_keys",
    "functional_dependencies",
    "header_pairs",
    "jaccard",
    "multiset_jaccard",
    "non_dependencies",
    "read_tables",
    "row_wise",
    "shared_names",
]
