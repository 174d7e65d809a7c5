"""Do vectors of tables stay when the rows are shuffled?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.table import Table
from embedkit.probes.observatory.finding import Finding
from embedkit.probes.observatory.variants import Property, Variant, check_variants, compare, permutations


def row_order(encoder: Encoder, tables: Sequence[Any], *, variants: int = 6, seed: int = 0) -> Finding:
    """Whether columns, rows and whole tables keep their vectors when the rows stand in another order.

    A relation is a set of rows, so a vector should not move: cos(E(T_0), E(T_j)) should be 1 for the table T_0 and each
    shuffled T_j, and the dispersion of E(T_0), E(T_1), … 0. A row is compared with itself, wherever it went. Of an
    encoder that gives everything one vector this is true as well: read each cosine beside its control.

    Args:
        encoder: Of tables, from `table_encoder` or `part_encoder`.
        tables: What `as_table` reads, at least one.
        variants: How many different orders of each table, from 1; a table of two rows has a single other one.
        seed: Of the orders and the intervals; equal seeds give equal findings.

    Returns:
        For "column", "row" and "table" the lines "…, cosine", "…, cosine 5 % quantile" and "…, dispersion". The unit
        is the table. The control is the cosine of different columns (rows) of the same table or, for tables, of
        different tables, all unchanged. Tables of fewer than two rows are left out.

    Raises:
        InputError: The encoder reads no tables, `tables` holds none or something else, or `variants` is no count.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.encoder import table_encoder
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> tables = [{"city": ["Paris", "Rome", "Oslo"], "country": ["France", "Italy", "Norway"]}]
        >>> moves = row_order(table_encoder(ek.load()), tables)["column, cosine"].estimate
        >>> 0.9 < moves.value < 1
        True
        >>> row_order(part_encoder(ek.load(), unit="cells"), tables)["column, cosine"].estimate.value
        1.0

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish, "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 1.

    Deviations:
        6 orders, not up to 1,000. The control, the quantile and the intervals are ours. A table longer than the
        encoder's window is shortened by the encoder and not dropped; notes count such tables.
    """
    check_variants(variants)
    random = np.random.default_rng(seed)

    def shuffled(table: Table) -> list[Variant]:
        columns = range(len(table.columns))
        return [Variant(rows, columns) for rows in permutations(len(table.rows), variants, random)]

    asked = Property(
        name="row order",
        question="Do vectors stay where they are when the rows of a table are shuffled?",
        levels=("column", "row", "table"),
        variants=shuffled,
        lacking="fewer than two rows",
    )
    return compare(encoder, tables, asked, seed=seed)
