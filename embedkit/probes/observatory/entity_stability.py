"""Entity stability (P6): do two encoders give a cell the same neighbours?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.table.table import Table
from embedkit.encoders.table.vectors import table_vectors
from embedkit.errors import InputError
from embedkit.ops.vectors import normalize
from embedkit.probes.observatory.finding import Estimate, Finding, Line, estimate
from embedkit.probes.observatory.variants import as_tables
from embedkit.types import Embeddings

__all__ = ["entity_stability"]

_DECIMALS = 6
"""Cosines of float32 vectors are equal up to this: batches of other widths move the digits behind it."""
_AT_A_TIME = 256


def entity_stability(
    encoder: Encoder,
    reference: Encoder,
    tables: Sequence[Any],
    *,
    k: Sequence[int] = (5, 10),
    max_cells: int = 300,
    seed: int = 0,
) -> Finding:
    """Share of the k nearest cells of a cell on which two encoders agree.

        overlap@k = mean over cells q of |NN_k(q; encoder) ∩ NN_k(q; reference)| / k

    The cells are the distinct ones that hold a letter, each read by itself, in a table of one cell without a name.
    NN_k are the k cells of highest cosine, q left out.

    Args:
        encoder: Of tables.
        reference: Another encoder of tables over the same cells. Its own static table of words, as in
            `part_encoder(static_encoder(model), unit="cells")`, tells how much of the neighbourhood is mere words.
        tables: A list of what `as_table` reads. Texts come as a table of one column.
        k: Numbers of neighbours, each from 1 and less than the number of cells.
        max_cells: Of more cells, so many are drawn.
        seed: Of the drawing and the intervals.

    Returns:
        A line "overlap of the 5 nearest" for each k. Two encoders agree fully (1.0) where one is the other turned or
        scaled. The control is what vectors at random give, exactly: k / (cells − 1). Units are cells, which are each
        other's neighbours and so not independent.

    Raises:
        InputError: An encoder reads no tables, something is no table, or there are not more cells than each k.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.encoders.table.parts import part_encoder
        >>> encoder = part_encoder(ek.load(), unit="cells")
        >>> trees = {"tree": ["oak", "ash", "elm", "fir", "yew"]}
        >>> line = entity_stability(encoder, encoder, [trees], k=[2])["overlap of the 2 nearest"]
        >>> line.estimate.value, line.control.value
        (1.0, 0.5)

    Reference:
        T. Cong, M. Hulsebos, Z. Sun, P. Groth, H. V. Jagadish: "Observatory: Characterizing Embeddings of Relational
        Tables", PVLDB 17(4), 2024, property 6.

    Deviations:
        The paper queries 1,000 entities that are linked in WikiTables; here each cell of text is its own entity, and
        all are queries. Cells are read without their tables. Cosines that agree to six decimals are ties, of which the
        cell that comes first is the nearer one.
    """
    _check(k, max_cells)
    found = _texts(as_tables(tables))
    drawn = sorted(np.random.default_rng(seed).permutation(len(found))[:max_cells])
    if len(drawn) <= max(k):
        message = (
            f"there must be more cells than neighbours, {max(k)}; {len(drawn)} different cells with a letter are read: "
            "bring more tables, or ask for fewer neighbours"
        )
        raise InputError(message)
    texts = [found[place] for place in drawn]
    near, near_reference = (_nearest(_vectors(each, texts), max(k)) for each in (encoder, reference))
    lines = []
    for number in k:
        chance = number / (len(texts) - 1)
        shared = [
            len(set(a) & set(b)) / number for a, b in zip(near[:, :number], near_reference[:, :number], strict=True)
        ]
        control = Estimate(chance, chance, chance, len(texts))
        lines.append(Line(f"overlap of the {number} nearest", estimate(shared, seed=seed), control, ideal=None))
    left_out = len(found) - len(texts)
    notes = (f"{len(texts):,} of {len(found):,} different cells with a letter drawn",) if left_out else ()
    return Finding("entity stability", "Do both encoders give a cell the same neighbours?", tuple(lines), notes)


def _check(k: Any, max_cells: Any) -> None:
    if not isinstance(k, list | tuple) or not k or any(type(number) is not int or number < 1 for number in k):
        message = f"k must be a list of counts from 1, such as (5, 10); received {k!r}"
        raise InputError(message)
    if type(max_cells) is not int or max_cells < 1:
        message = f"max_cells must be a count from 1; received {max_cells!r}"
        raise InputError(message)


def _texts(tables: Sequence[Table]) -> list[str]:
    """Distinct cells that hold a letter, their white space made single spaces, in the order of the tables."""
    cells = (" ".join(cell.split()) for table in tables for row in table.rows for cell in row)
    return list(dict.fromkeys(cell for cell in cells if any(map(str.isalpha, cell))))


def _vectors(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    alone = [Table("", ("",), [(text,)]) for text in texts]
    starts = tqdm(range(0, len(alone), _AT_A_TIME), desc="cells", disable=None, delay=2)
    read = [table_vectors(encoder, alone[start : start + _AT_A_TIME], parts=["cells"]) for start in starts]
    return np.concatenate([each.cells for batch in read for each in batch])


def _nearest(vectors: Embeddings, k: int) -> NDArray[np.int64]:
    """Positions of the k nearest of each, itself left out, the nearest first; (n, k)."""
    unit = normalize(vectors).astype(np.float64)
    nearest = np.empty((len(unit), k), dtype=np.int64)
    for start in range(0, len(unit), _AT_A_TIME):
        cosines = np.round(unit[start : start + _AT_A_TIME] @ unit.T, _DECIMALS)
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        nearest[start : start + _AT_A_TIME] = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return nearest
