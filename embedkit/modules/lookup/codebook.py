"""Product quantisation: a row is a few codes of a codebook; after training, and trained with it (DPQ, MGQE)."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import (
    check_budget,
    check_share,
    checked_counts,
    checked_weight,
    pack,
    packed_width,
    unpack,
)
from embedkit.modules.lookup.pruned import largest

MOST_CODES = 65536
_BLOCK = 64
_DISTANCES_AT_A_TIME = 1 << 23
_ROWS_A_CODE = 64


class CodebookLookup(Lookup):
    """Rows of codes: a row is `parts` pieces, each one of the `num_codes` of its part of the codebook.

    Values may be of two kinds: `num_hot` with the whole codebook, the others with its first `cold_codes` alone, in
    shorter codes. Which is which takes a bit a value, and 32 bits every 64 values to count those before.

    Bytes: 4 · num_codes · dim + num_rows · width(num_codes), with width(n) = ⌈parts · ⌈log2 n⌉ / 8⌉, at least a bit a
    code; with two kinds num_hot · width(num_codes) + (num_rows - num_hot) · width(cold_codes) + 12 · ⌈num_rows / 64⌉ in
    place of the latter. The codebook may be trained on; codes stay.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        parts: Pieces of a row, a divisor of `dim`.
        num_codes: Codes of a part, 1 … 65,536.
        cold_codes: Codes that cold values may have, 1 … num_codes; None if there is one kind of value.
        num_hot: Values with the whole codebook, where there are two kinds. Codes are loaded: `from_weight` makes a
            lookup from a table.

    Raises:
        InputError: As in `Lookup`, or an argument is out of range.

    Example:
        >>> weight = torch.tensor([[1.0, 5.0], [2.0, 5.0], [1.0, 6.0]])
        >>> lookup = CodebookLookup.from_weight(weight, [3], parts=2, num_codes=2)
        >>> lookup(torch.tensor([[2]])).tolist(), lookup.nbytes
        ([[[1.0, 6.0]]], 19)

    Reference:
        Hervé Jégou, Matthijs Douze, Cordelia Schmid: Product Quantization for Nearest Neighbor Search. IEEE TPAMI
        33(1), 2011, section 3. As stored form: Ting Chen, Lala Li, Yizhou Sun: Differentiable Product Quantization for
        End-to-End Embedding Compression. ICML 2020.

    Deviations:
        All fields share the codebook.
    """

    options = ("parts", "num_codes", "cold_codes", "num_hot")
    codes: Tensor
    hot_codes: Tensor
    hot: Tensor
    hot_before: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        parts: int = 4,
        num_codes: int = 256,
        cold_codes: int | None = None,
        num_hot: int = 0,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_codebook(self.dim, parts, num_codes, cold_codes)
        if not 0 <= operator.index(num_hot) <= self.num_rows:
            message = f"num_hot must be between 0 and {self.num_rows}; received {num_hot}"
            raise InputError(message)
        self.parts, self.num_codes, self.cold_codes, self.num_hot = parts, num_codes, cold_codes, num_hot
        self.codebook = nn.Parameter(torch.zeros(parts, num_codes, dim // parts))

        def zeros(count: int, codes: int) -> Tensor:
            return torch.zeros(count, packed_width(parts, bits_of(codes)), dtype=torch.uint8)

        if cold_codes is None:
            self.register_buffer("codes", zeros(self.num_rows, num_codes))
            return
        self.register_buffer("codes", zeros(self.num_rows - num_hot, cold_codes))
        self.register_buffer("hot_codes", zeros(num_hot, num_codes))
        blocks = -(-self.num_rows // _BLOCK)
        self.register_buffer("hot", torch.zeros(blocks, _BLOCK // 8, dtype=torch.uint8))
        self.register_buffer("hot_before", torch.zeros(blocks, dtype=torch.int32))

    @classmethod
    def from_weight(
        cls,
        weight: Tensor,
        sizes: Sequence[int],
        *,
        parts: int = 4,
        num_codes: int = 256,
        counts: Tensor | Sequence[float] | None = None,
        iterations: int = 12,
        seed: int = 0,
        names: Sequence[str] | None = None,
    ) -> Self:
        """A codebook by k-means on the pieces of known vectors, and the nearest codes.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: Vocabulary size of each field.
            parts: Pieces of a row, a divisor of `dim`.
            num_codes: Codes of a part. If a part has no more distinct pieces than that, they are exact.
            counts: How often each value occurs, (num_rows,): the weight of its row; None for equally often.
            iterations: Rounds of k-means, on at most 64 · num_codes rows.
            seed: Seed of the rows that are drawn.
            names: As in the class.

        Raises:
            InputError: `weight` or `counts` is of another shape or not finite, or a number is out of range.
        """
        weight = checked_weight(weight, sizes)
        check_codebook(weight.shape[1], parts, num_codes, None)
        shares = torch.ones(len(weight)) if counts is None else checked_counts(counts, len(weight))
        generator = torch.Generator().manual_seed(seed)
        pieces = weight.reshape(len(weight), parts, -1)
        codebook = torch.stack(
            [_centroids(pieces[:, part], shares.to(weight), num_codes, iterations, generator) for part in range(parts)]
        )
        return cls._of(codebook, nearest_codes(weight.double(), codebook), sizes, names)

    @classmethod
    def _of(
        cls,
        codebook: Tensor,
        codes: Tensor,
        sizes: Sequence[int],
        names: Sequence[str] | None,
        cold: tuple[int, Tensor] | None = None,
    ) -> Self:
        """A lookup of these codes, (num_rows, parts); `cold` says how many codes cold values have, and who is hot."""
        parts, num_codes, width = codebook.shape
        options = {} if cold is None else {"cold_codes": cold[0], "num_hot": int(cold[1].sum())}
        lookup = cls(sizes, parts * width, names=names, parts=parts, num_codes=num_codes, **options)
        lookup.codebook.data = codebook.detach().clone()
        if cold is None:
            lookup.codes = pack(codes, bits_of(num_codes))
            return lookup.to(codebook.device)
        cold_codes, hot = cold
        lookup.codes, lookup.hot_codes = pack(codes[~hot], bits_of(cold_codes)), pack(codes[hot], bits_of(num_codes))
        blocks = nn.functional.pad(hot, (0, -len(hot) % _BLOCK)).reshape(-1, _BLOCK)
        each = blocks.sum(1)
        lookup.hot, lookup.hot_before = pack(blocks.long(), bits=1), (each.cumsum(0) - each).to(torch.int32)
        return lookup.to(codebook.device)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Pieces of the codebook, side by side."""
        return pieces_of(self.codebook, self._codes(rows))

    def _codes(self, rows: Tensor) -> Tensor:
        if self.cold_codes is None:
            return unpack(self.codes[rows], bits_of(self.num_codes), self.parts)
        marks = unpack(self.hot[rows // _BLOCK], 1, _BLOCK)
        within = (rows % _BLOCK)[..., None]
        before = self.hot_before[rows // _BLOCK].long() + (
            marks * (torch.arange(_BLOCK, device=rows.device) < within)
        ).sum(-1)
        hot = marks.gather(-1, within)[..., 0].bool()
        return torch.where(
            hot[..., None],
            _coded(self.hot_codes, before, ~hot, bits_of(self.num_codes), self.parts),
            _coded(self.codes, rows - before, hot, bits_of(self.cold_codes), self.parts),
        )


class MGQELookup(Lookup):
    """A table trained together with the codebook that will serve it (MGQE; with one kind of value, DPQ).

        code_p = argmin_j ‖q_p - c_pj‖²    vector = c, with the gradient passed on to q as it is
        penalty = mean (c - sg(q))² + commitment · mean (q - sg(c))²

    with q the row, p its parts, c the nearest pieces, and sg its argument without gradient. Values that are seen often
    (hot) have all codes to choose from, the others the first `cold_codes`.

    `serving` gives a `CodebookLookup` of the codes of all values. Bytes in training: those of the table and more.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        counts: How often each value occurs, (num_rows,); needed if there are cold values.
        names: As in `Lookup`.
        parts: Pieces of a row, a divisor of `dim`.
        num_codes: Codes of a part.
        cold_codes: Codes that cold values may have; None makes no difference between values (DPQ).
        hot_share: Share of the values, the most frequent, that are hot; of equal ones the first.
        commitment: Weight of the pull of rows to their pieces.
        std: Standard deviation of the normal distribution that rows begin with; the codebook begins as pieces of some.

    Raises:
        InputError: As in `Lookup`, `counts` is missing or not (num_rows,), or a number is out of range.

    Example:
        >>> lookup = MGQELookup([3, 5], dim=4, parts=2, num_codes=4)
        >>> ids = torch.tensor([[2, 0], [0, 4]])
        >>> torch.equal(lookup(ids), lookup.serving()(ids)), lookup.serving().nbytes
        (True, 72)

    Reference:
        Wang-Cheng Kang, Derek Zhiyuan Cheng, Ting Chen, Xinyang Yi, Dong Lin, Lichan Hong, Ed H. Chi: Learning
        Multi-granular Quantized Embeddings for Large-Vocab Categorical Features in Recommender Systems. WWW 2020
        (companion), section 3. Ting Chen, Lala Li, Yizhou Sun: Differentiable Product Quantization for End-to-End
        Embedding Compression. ICML 2020, section 2 (DPQ-VQ).

    Deviations:
        No batch normalisation of distances: its statistics change which code is nearest between training and serving.
        Codes of all values are computed anew in `serving`, not gathered from batches. The second term of the penalty,
        the commitment of rows, is weighted apart; 0 leaves it out.
    """

    options = ("parts", "num_codes", "cold_codes", "hot_share", "commitment", "std")
    hot: Tensor

    def __init__(  # noqa: PLR0913 (each is a choice of the method)
        self,
        sizes: Sequence[int],
        dim: int,
        counts: Tensor | Sequence[float] | None = None,
        *,
        names: Sequence[str] | None = None,
        parts: int = 4,
        num_codes: int = 256,
        cold_codes: int | None = None,
        hot_share: float = 0.1,
        commitment: float = 0.25,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        check_codebook(self.dim, parts, num_codes, cold_codes)
        check_share("hot_share", hot_share)
        self.parts, self.num_codes, self.cold_codes, self.hot_share = parts, num_codes, cold_codes, hot_share
        self.commitment, self.std = commitment, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))
        first = self.weight.detach()[torch.randint(self.num_rows, (num_codes,))]
        self.codebook = nn.Parameter(first.reshape(num_codes, parts, -1).transpose(0, 1).contiguous())
        if cold_codes is not None:
            if counts is None:
                message = "counts must be given where there are cold values, one a value; received None"
                raise InputError(message)
            hot = largest(checked_counts(counts, self.num_rows), round(hot_share * self.num_rows))
            self.register_buffer("hot", hot)
        self._seen: tuple[Tensor, Tensor] | None = None

    @classmethod
    def _empty(cls, config: Mapping[str, Any]) -> Self:
        counts = torch.zeros(sum(config["sizes"])) if config["cold_codes"] is not None else None
        return cls(**config, counts=counts)

    @classmethod
    def for_budget(
        cls,
        sizes: Sequence[int],
        dim: int,
        nbytes: int,
        *,
        names: Sequence[str] | None = None,
        counts: Tensor | Sequence[float] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Self:
        """The most bits a row, in codes of at most 8 bits, whose `serving` form takes at most `nbytes`.

        Args:
            sizes: As in the class.
            dim: As in the class.
            nbytes: Bytes that may be served.
            names: As in the class.
            counts: As in the class. If given, cold values have a quarter of the codes.
            seed: Not used: nothing is drawn but weights.
            **options: Further arguments of the class, other than those that are found.

        Raises:
            InputError: `nbytes` is below the bytes of one code of one bit a row; the message names them.
        """
        del seed
        hot_share = options.get("hot_share", 0.1) if counts is not None else None
        parts, num_codes, cold_codes = codebook_within(sum(sizes), dim, nbytes, hot_share)
        chosen: dict[str, Any] = {"parts": parts, "num_codes": num_codes, "cold_codes": cold_codes, **options}
        return cls(sizes, dim, counts, names=names, **chosen)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Pieces that are nearest to those of the rows."""
        different, places = torch.unique(rows, return_inverse=True)
        codes = self._nearest(different)[places]
        if self.training:
            self._seen = rows, codes
        exact = nn.functional.embedding(rows, self.weight)
        return pieces_of(self.codebook, codes).detach() + (exact - exact.detach())

    def penalty(self) -> Tensor | None:
        """Pulls the codebook to the rows of the last batch, and the rows to it."""
        if self._seen is None:
            return None
        (rows, codes), self._seen = self._seen, None
        exact, pieces = nn.functional.embedding(rows, self.weight), pieces_of(self.codebook, codes)
        to_rows, to_pieces = (pieces - exact.detach()).square().mean(), (exact - pieces.detach()).square().mean()
        return to_rows + self.commitment * to_pieces

    def serving(self) -> CodebookLookup:
        """The codebook, and the codes of all values."""
        codes = self._nearest(torch.arange(self.num_rows, device=self.weight.device))
        cold = None if self.cold_codes is None else (self.cold_codes, self.hot)
        return CodebookLookup._of(self.codebook, codes, self.sizes, self.names, cold)

    def _nearest(self, rows: Tensor) -> Tensor:
        limits = None
        if self.cold_codes is not None:
            limits = torch.where(self.hot[rows], self.num_codes, self.cold_codes)
        # In float64, so that codes do not depend on which rows are asked for together.
        return nearest_codes(self.weight[rows].double(), self.codebook, limits)


def bits_of(codes: int) -> int:
    """Bits of a code of this many."""
    return max(1, (codes - 1).bit_length())


def pieces_of(codebook: Tensor, codes: Tensor) -> Tensor:
    """Vectors of codes: (parts, num_codes, width) and (..., parts) to (..., parts · width)."""
    return codebook[torch.arange(len(codebook), device=codebook.device), codes].flatten(-2)


def nearest_codes(values: Tensor, codebook: Tensor, limits: Tensor | None = None) -> Tensor:
    """Codes of the pieces nearest to those of each row; of equal ones the first.

    Args:
        values: (n, dim), in whose precision distances are computed.
        codebook: (parts, num_codes, dim / parts).
        limits: How many codes each row may choose from, (n,); None for all.

    Returns:
        int64 (n, parts).
    """
    parts, num_codes, width = codebook.shape
    values, codebook = values.detach(), codebook.detach().to(values.dtype)
    # ‖q‖² is the same for all codes and left out.
    lengths, turned = codebook.square().sum(-1)[:, None], codebook.transpose(1, 2)
    at_a_time = max(1, _DISTANCES_AT_A_TIME // (parts * num_codes))
    found = [torch.empty(0, parts, dtype=torch.long, device=values.device)]
    for begin in range(0, len(values), at_a_time):
        pieces = values[begin : begin + at_a_time].reshape(-1, parts, width).transpose(0, 1)
        distances = torch.baddbmm(lengths, pieces, turned, alpha=-2)
        if limits is not None:
            beyond = torch.arange(num_codes, device=values.device) >= limits[begin : begin + at_a_time, None]
            distances = distances.masked_fill(beyond, float("inf"))
        found.append(distances.argmin(-1).T)
    return torch.cat(found)


def served_bytes(
    num_rows: int, dim: int, parts: int, num_codes: int, cold_codes: int | None = None, num_hot: int = 0
) -> int:
    """Bytes of a `CodebookLookup`."""
    width = packed_width(parts, bits_of(num_codes))
    if cold_codes is None:
        return 4 * num_codes * dim + num_rows * width
    cold = (num_rows - num_hot) * packed_width(parts, bits_of(cold_codes))
    return 4 * num_codes * dim + num_hot * width + cold + 12 * -(-num_rows // _BLOCK)


def codebook_within(
    num_rows: int, dim: int, nbytes: int, hot_share: float | None = None
) -> tuple[int, int, int | None]:
    """Parts, codes and codes of cold values that spend at most `nbytes`, with the most bits a row.

    Args:
        num_rows: Values.
        dim: Width of their vectors.
        nbytes: Bytes of the `CodebookLookup`.
        hot_share: Share of values that are hot, if the others shall have a quarter of the codes; None for one kind.

    Raises:
        InputError: One code of one bit a row takes more; the message names the bytes.
    """
    check_budget(nbytes, served_bytes(num_rows, dim, 1, 2), "those of a code of one bit a row")
    best = (1, 1, 2, None)
    for parts in (parts for parts in range(1, dim + 1) if dim % parts == 0):
        for bits in range(1, 9):
            cold = 2**bits // 4 if hot_share is not None and bits > 2 else None
            hot = round((hot_share or 0) * num_rows)
            fits = served_bytes(num_rows, dim, parts, 2**bits, cold, hot) <= nbytes
            # Of as many bits a row, in fewer and longer codes: they can say all that shorter ones can.
            if fits and parts * bits > best[0]:
                best = parts * bits, parts, 2**bits, cold
    return best[1:]


def check_codebook(dim: int, parts: int, num_codes: int, cold_codes: int | None) -> None:
    """Refuse a codebook that cannot be.

    Raises:
        InputError: An argument is out of range.
    """
    if operator.index(parts) < 1 or dim % parts:
        message = f"parts must divide dim, {dim}; received {parts}"
        raise InputError(message)
    if not 1 <= operator.index(num_codes) <= MOST_CODES:
        message = f"num_codes must be between 1 and {MOST_CODES}; received {num_codes}"
        raise InputError(message)
    if cold_codes is not None and not 1 <= operator.index(cold_codes) <= num_codes:
        message = f"cold_codes must be between 1 and num_codes, {num_codes}; received {cold_codes}"
        raise InputError(message)


def _coded(packed: Tensor, places: Tensor, others: Tensor, bits: int, parts: int) -> Tensor:
    """Codes at these places; whatever they are where `others` is true."""
    if not len(packed):
        return torch.zeros(*places.shape, parts, dtype=torch.long, device=places.device)
    return unpack(packed[places.masked_fill(others, 0)], bits, parts)


def _centroids(pieces: Tensor, shares: Tensor, count: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Weighted k-means of pieces, (count, width), or what they are if they are few."""
    chosen = torch.randperm(len(pieces), generator=generator)[: _ROWS_A_CODE * count].to(pieces.device)
    points, shares_of_points = pieces[chosen], shares[chosen]
    distinct: Tensor = torch.unique(points, dim=0)
    if len(distinct) <= count:
        # There may be as few among all: only then are all looked at.
        distinct, which = torch.unique(pieces, dim=0, return_inverse=True)
        if len(distinct) <= count:
            return nn.functional.pad(distinct, (0, 0, 0, count - len(distinct)))
        shares = shares.new_zeros(len(distinct)).index_add(0, which, shares)
        chosen = torch.randperm(len(distinct), generator=generator).to(pieces.device)
        points, shares_of_points = distinct[chosen], shares[chosen]
    # Differences of squares lose what is common to all points.
    mean = points.mean(0)
    return mean + _lloyd(points - mean, shares_of_points, count, iterations)


def _lloyd(points: Tensor, shares: Tensor, count: int, iterations: int) -> Tensor:
    """Rounds of assigning points and averaging them, from the first `count` points on."""
    centroids = points[:count].clone()
    for _ in range(iterations):
        codes = nearest_codes(points, centroids[None])[:, 0]
        mass = shares.new_zeros(count).index_add(0, codes, shares)
        sums = torch.zeros_like(centroids).index_add(0, codes, points * shares[:, None])
        used = mass > 0
        centroids[used] = sums[used] / mass[used, None]
        # A code that stands for nothing moves to one of the points that are represented worst.
        free = int((~used).sum())
        errors = (points - centroids[codes]).square().sum(1) * shares
        centroids[~used] = points[errors.topk(free).indices]
    return centroids
