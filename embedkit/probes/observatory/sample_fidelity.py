"""Do a few rows give the vectors of the whole table?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.table import Table
from embedkit.errors import InputError
from embedkit.probes.observatory.finding import Finding
from embedkit.probes.observatory.variants import Property, Variant, check_variants, compare


def sample_fidelity(
    encoder: Encoder, tables: Sequence[Any], *, fraction: float = 0.25, variants: int = 6, seed: int = 0
) -> Finding:
    """Whether a sample of the rows gives columns and tables the vectors that all rows give them.

    Where it does, long tables may be embedded from a few rows. Of n rows, max(1, round(fraction n)) are drawn without
    replacement and stay in their order; cos(E(T), E(S_j)) is compared with 1, the dispersion of E(T), E(S_1), … with 0.

    An encoder that averages rows has a known answer: over samples S of s rows, E‖E(S) − E(T)‖² = tr(Cov)(1/s − 1/n)
    with the n − 1 form of the covariance of its rows.

    Args:
        encoder: Of tables, from `table_encoder` or `part_encoder`.
        tables: What `as_table` reads, at least one.
        fraction: Share of the rows in a sample, 0 < fraction ≤ 1. At 1 a sample is the table, and nothing may move.
        variants: How many samples of each table, from 1; of a short table some may be equal.
        seed: Of the samples and the intervals; equal seeds give equal findings.

    Returns:
        For "column" and "table" the lines "…, cosine", "…, cosine 5 % quantile" and "…, dispersion". The unit is the
        table. The control is the cosine of different columns of the same table or, for tables, of different tables,
        all with all rows. Tables without rows, and those of which a fraction below 1 is all rows, are left out.

    Raises:
        InputError: The encoder reads no tables, `tables` holds none or something else, `fraction` is out of range, or
            `variants` is no count.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.encoder import table_encoder
        >>> tables = [{"city": ["Paris", "Rome", "Oslo", "Bern"], "people": [2_100_000, 2_800_000, 700_000, 130_000]}]
        >>> finding = sample_fidelity(table_encoder(ek.load()), tables, fraction=0.5)
        >>> 0.5 < finding["column, cosine"].estimate.value < 1
        True

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish, "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 5.

    Deviations:
        The level of tables, the control, the quantile and the intervals are ours. A table longer than the encoder's
        window is itself read from a sample; notes count such tables.
    """
    check_variants(variants)
    if not 0 < fraction <= 1:
        message = f"fraction must be above 0 and at most 1, such as 0.25; received {fraction!r}"
        raise InputError(message)
    random = np.random.default_rng(seed)

    def samples(table: Table) -> list[Variant]:
        rows, columns = len(table.rows), range(len(table.columns))
        size = max(1, round(fraction * rows))
        if not rows or (size == rows and fraction < 1):
            return []
        drawn = [np.sort(random.choice(rows, size, replace=False)).tolist() for _ in range(variants)]
        return [Variant(each, columns) for each in drawn]

    asked = Property(
        name="sample fidelity",
        question=f"Do {100 * fraction:g} % of the rows give the vectors of the whole table?",
        levels=("column", "table"),
        variants=samples,
        lacking="too few rows for a sample",
    )
    return compare(encoder, tables, asked, seed=seed)
