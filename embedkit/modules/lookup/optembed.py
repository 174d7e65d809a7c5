"""OptEmbed: which values of a field need a vector at all, and how wide the vectors of a field need be."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.lookup.lookup import Lookup
from embedkit.modules.lookup.packing import checked_weight

Candidate = tuple[int, ...]
"""Column at which the vectors of each field end: field f is candidate[f] + 1 wide."""


class CompactLookup(Lookup):
    """Tables of kept values only, each field as wide as it needs: what OptEmbed stores.

    A value that is not kept has the vector zero; a vector narrower than `dim` is filled up with zeros. It may be
    trained on: that is OptEmbed's retraining, with both masks frozen.

    Bytes: 4 · Σ_f kept_f · width_f + 4 · num_rows, the latter for the places of values among the kept.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        widths: Width of the vectors of each field, 1 … dim.
        kept: Values that are kept of each field, 0 … its size. Which ones is loaded: `from_weight` makes a lookup
            from a table.
        names: As in `Lookup`.

    Raises:
        InputError: As in `Lookup`, or `widths` or `kept` is not one in range a field.

    Example:
        >>> weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> lookup = CompactLookup.from_weight(weight, [2, 1], [1, 2], torch.tensor([False, True, True]))
        >>> lookup(torch.tensor([[0, 0], [1, 0]])).tolist(), lookup.nbytes
        ([[[0.0, 0.0], [5.0, 6.0]], [[3.0, 0.0], [5.0, 6.0]]], 24)

    Reference:
        As `OptEmbedLookup`, section 3.4 (retraining).

    Deviations:
        They keep the table dense and multiply by the masks, which saves nothing. Places among the kept are counted.
    """

    options = ("widths", "kept")
    places: Tensor
    field_widths: Tensor
    begins: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        widths: Sequence[int],
        kept: Sequence[int],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        self.widths = _checked("widths", widths, 1, [self.dim] * len(self.sizes))
        self.kept = _checked("kept", kept, 0, self.sizes)
        numbers = torch.tensor(self.widths) * torch.tensor(self.kept)
        self.weight = nn.Parameter(torch.zeros(int(numbers.sum())))
        self.register_buffer("places", torch.full((self.num_rows,), -1, dtype=torch.int32))
        self.register_buffer("field_widths", torch.tensor(self.widths), persistent=False)
        self.register_buffer("begins", numbers.cumsum(0) - numbers, persistent=False)

    @classmethod
    def from_weight(
        cls,
        weight: Tensor,
        sizes: Sequence[int],
        widths: Sequence[int],
        kept: Tensor,
        *,
        names: Sequence[str] | None = None,
    ) -> Self:
        """The kept part of known vectors.

        Args:
            weight: (num_rows, dim), the fields below each other.
            sizes: Vocabulary size of each field.
            widths: Columns that are kept of each field.
            kept: True for values that are kept, (num_rows,).
            names: As in the class.

        Raises:
            InputError: `weight` is of another shape or not finite, `kept` is not (num_rows,), or a width is out of
                range.
        """
        weight = checked_weight(weight, sizes)
        if kept.shape != weight.shape[:1]:
            message = f"kept must be one a value, ({len(weight)},); received shape {tuple(kept.shape)}"
            raise InputError(message)
        kept = kept.to(weight.device, torch.bool)
        parts = list(zip(torch.split(kept, list(sizes)), torch.split(weight, list(sizes)), strict=True))
        counts = [int(mask.sum()) for mask, _ in parts]
        lookup = cls(sizes, weight.shape[1], widths=widths, kept=counts, names=names)
        flat = [rows[mask, :width].flatten() for (mask, rows), width in zip(parts, lookup.widths, strict=True)]
        lookup.weight.data = torch.cat(flat)
        places = torch.cat([mask.cumsum(0) - 1 for mask, _ in parts])
        lookup.places = places.masked_fill(~kept, -1).to(torch.int32)
        return lookup.to(weight.device)

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Kept rows, filled up with zeros; zero for the others."""
        return padded_rows(self.weight, self.places[rows], self.field_widths[fields], self.begins[fields], self.dim)


class OptEmbedLookup(Lookup):
    """The supernet of OptEmbed: a table that learns which values to drop, under every width at once.

        z = ‖e‖ - t;   keep = 1 where z > 0, else 0;   vector = keep · mask(k) ⊙ e
        d keep / d z := 2 - 4 |z| where |z| ≤ 0.4;   0.4 where 0.4 < |z| ≤ 1;   0 beyond
        penalty = alpha · Σ exp(-t)

    with e the row of a value, t the threshold of its field and mask(k) ones in columns 0 … k. In training k is drawn
    from 0 … dim - 1 for each record and field anew; in evaluation it is what `use` was given, dim - 1 at first. The
    norm is of the whole row. Thresholds begin at zero and are stepped by an optimiser of their own, SGD.

    The three stages: train this; find a candidate with `evolve`, whose score is a metric on validation data in
    evaluation mode after `use(candidate)`; train `for_retraining()`.

    Args:
        sizes: As in `Lookup`.
        dim: As in `Lookup`.
        names: As in `Lookup`.
        alpha: Weight of the penalty. Thresholds rise by about threshold_lr · alpha a step where no gradient of the data
            opposes: choose it with the number of steps in mind.
        per: "field": a threshold a field, or "row": a threshold a value.
        norm: 1 or 2: which norm of the row.
        threshold_lr: Learning rate of the thresholds.
        std: Standard deviation of the normal distribution that rows begin with.

    Raises:
        InputError: As in `Lookup`, or `per` or `norm` is none of these.

    Example:
        >>> lookup = OptEmbedLookup([3, 5], dim=4).eval()
        >>> lookup.use((1, 3))
        >>> lookup(torch.tensor([[2, 0]]))[0, 0, 2:].abs().tolist(), lookup.serving().nbytes
        ([0.0, 0.0], 136)

    Reference:
        Fuyuan Lyu, Xing Tang, Hong Zhu, Huifeng Guo, Yingxue Zhang, Ruiming Tang, Xue Liu: OptEmbed: Learning Optimal
        Embedding Table for Click-through Rate Prediction. CIKM 2022, section 3, Eq. 5–12.

    Deviations:
        The initial weights, from which the last stage starts, are a buffer, so that they survive saving: bytes in
        training are 8 · num_rows · dim. Linear weights of a model that are not in a lookup are neither masked nor
        counted.
    """

    options = ("alpha", "per", "norm", "threshold_lr", "std")
    initial: Tensor
    candidate: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        dim: int,
        *,
        names: Sequence[str] | None = None,
        alpha: float = 0.01,
        per: Literal["field", "row"] = "field",
        norm: Literal[1, 2] = 1,
        threshold_lr: float = 0.01,
        std: float = 0.01,
    ) -> None:
        super().__init__(sizes, dim, names=names)
        if per not in ("field", "row"):
            message = f"per must be 'field' or 'row'; received {per!r}"
            raise InputError(message)
        if norm not in (1, 2):
            message = f"norm must be 1 or 2; received {norm!r}"
            raise InputError(message)
        self.alpha, self.per, self.norm, self.threshold_lr, self.std = alpha, per, norm, threshold_lr, std
        self.weight = nn.Parameter(torch.empty(self.num_rows, dim).normal_(std=std))
        self.threshold = nn.Parameter(torch.zeros(len(self.sizes) if per == "field" else self.num_rows))
        self.register_buffer("initial", self.weight.detach().clone())
        self.register_buffer("candidate", torch.full((len(self.sizes),), dim - 1, dtype=torch.int32))

    def use(self, candidate: Sequence[int]) -> None:
        """Fix the last column of each field in evaluation, 0 … dim - 1.

        Raises:
            InputError: `candidate` is not one such number a field.
        """
        checked = _checked("candidate", candidate, 0, [self.dim - 1] * len(self.sizes))
        self.candidate.copy_(torch.tensor(checked))

    def kept_rows(self) -> Tensor:
        """True for values whose vector is not dropped, (num_rows,)."""
        with torch.no_grad():
            fields = torch.repeat_interleave(torch.arange(len(self.sizes), device=self.bounds.device), self.bounds)
            return self._excess(self.weight, self.threshold[fields] if self.per == "field" else self.threshold) > 0

    def vectors(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Masked rows."""
        weight = nn.functional.embedding(rows, self.weight)
        threshold = self.threshold[fields if self.per == "field" else rows]
        keep: Tensor = _Step.apply(self._excess(weight, threshold))  # type: ignore[no-untyped-call]
        if self.training:
            last = torch.randint(self.dim, rows.shape, device=rows.device)
        else:
            last = self.candidate[fields].expand(rows.shape)
        mask = torch.arange(self.dim, device=rows.device) <= last[..., None]
        masked: Tensor = keep[..., None] * (mask * weight)
        return masked

    def penalty(self) -> Tensor:
        """Pushes thresholds up, the low ones more."""
        return self.alpha * torch.exp(-self.threshold).sum()

    def own_optimizer(self) -> torch.optim.Optimizer:
        """SGD on the thresholds."""
        return torch.optim.SGD([self.threshold], lr=self.threshold_lr)

    def serving(self) -> CompactLookup:
        """What is kept, at the widths in use: the same vectors as in evaluation."""
        return self._compact(self.weight)

    def for_retraining(self) -> CompactLookup:
        """What is kept, at the widths in use, with the weights that training began with."""
        return self._compact(self.initial)

    def _compact(self, weight: Tensor) -> CompactLookup:
        widths = (self.candidate + 1).tolist()
        return CompactLookup.from_weight(weight, self.sizes, widths, self.kept_rows(), names=self.names)

    def _excess(self, weight: Tensor, threshold: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(weight, ord=self.norm, dim=-1)
        return norms - threshold


class _Step(torch.autograd.Function):
    """1 above zero, else 0, with the long-tailed surrogate in place of its gradient."""

    @staticmethod
    def forward(ctx: Any, excess: Tensor) -> Tensor:
        ctx.save_for_backward(excess)
        return (excess > 0).to(excess.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (excess,) = ctx.saved_tensors
        return upstream[0] * step_slope(excess)


def step_slope(excess: Tensor) -> Tensor:
    """What stands for the derivative of the step at `excess`: 2 - 4 |z|, 0.4 from 0.4 on, 0 beyond 1."""
    size = excess.abs()
    return torch.where(size <= 0.4, 2 - 4 * size, torch.where(size <= 1, 0.4, 0.0))


def padded_rows(flat: Tensor, places: Tensor, widths: Tensor, begins: Tensor, dim: int) -> Tensor:
    """Rows of tables of several widths that lie behind each other, filled up with zeros.

    Args:
        flat: The tables' numbers, (numbers,).
        places: Row of its table, (batch, columns); -1 for the vector zero.
        widths: Width of each column's table, (columns,).
        begins: Where each column's table begins, (columns,).
        dim: Width of what is returned.

    Returns:
        (batch, columns, dim).
    """
    column = torch.arange(dim, device=flat.device)
    stored = (column < widths[:, None]) & (places >= 0)[..., None]
    if not len(flat):
        return flat.new_zeros(stored.shape)
    positions = (begins + places.long() * widths)[..., None] + column
    return torch.where(stored, flat[positions.masked_fill(~stored, 0)], 0)


# -- search --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidate: The best one.
        score: Its score.
        history: Best score after each evaluation; as long as the evaluations that were made.
    """

    candidate: Candidate
    score: float
    history: tuple[float, ...]


@dataclass
class _Scored:
    """Scores candidates while the budget lasts, and remembers the best."""

    score: Callable[[Candidate], float]
    budget: int
    best: tuple[Candidate, float] | None = None
    history: list[float] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.budget - len(self.history)

    def __call__(self, candidate: Candidate) -> float:
        value = float(self.score(candidate))
        if np.isnan(value):
            message = f"score must be a number; it is NaN for {candidate}"
            raise InputError(message)
        if self.best is None or value > self.best[1]:
            self.best = candidate, value
        self.history.append(self.best[1])
        return value

    def result(self) -> SearchResult:
        if self.best is None:
            message = f"budget must be at least 1 evaluation; received {self.budget}"
            raise InputError(message)
        return SearchResult(*self.best, tuple(self.history))


def evolve(
    score: Callable[[Candidate], float],
    num_fields: int,
    dim: int,
    *,
    budget: int = 600,
    children: int = 20,
    keep: int = 10,
    mutation_rate: float = 0.1,
    seed: int = 0,
) -> SearchResult:
    """Evolutionary search for the widths of fields (OptEmbed's second stage).

    The first generation is drawn at random. In each further one the `keep` best so far stay and are the parents. Half
    of the children redraw each gene of a parent with probability `mutation_rate`; the others take their first genes
    from one parent and the rest from another, cut between two genes.

    Args:
        score: What is to be high, such as the AUC on validation data after `lookup.use(candidate)`.
        num_fields: Genes of a candidate.
        dim: Genes are 0 … dim - 1.
        budget: Evaluations of `score`.
        children: Children of a generation.
        keep: Parents; they keep their scores, so that the best is never lost.
        mutation_rate: Probability that a gene is redrawn.
        seed: Seed of all draws.

    Raises:
        InputError: `budget`, `children` or `keep` is below 1, or a score is NaN.

    Example:
        >>> evolve(lambda candidate: -sum(candidate), num_fields=3, dim=4, budget=200).candidate
        (0, 0, 0)

    Reference:
        As `OptEmbedLookup`, section 3.3, Algorithm 1.

    Deviations:
        The kept and the parents are the same. Parents are not changed by their children, as they are in the released
        code, and the cut lies between genes, where there it mostly lies beyond them.
    """
    if keep < 1 or children < 1:
        message = f"keep and children must be at least 1; received keep={keep}, children={children}"
        raise InputError(message)
    random = np.random.default_rng(seed)
    scored = _Scored(score, budget)
    first = [draw(random, num_fields, dim) for _ in range(min(budget, keep + children))]
    population = [(candidate, scored(candidate)) for candidate in first]
    while scored.left > 0:
        # sorted is stable: of equal ones the older stay.
        population = sorted(population, key=lambda member: -member[1])[:keep]
        parents = [candidate for candidate, _ in population]
        born = [mutated(random, _one_of(random, parents), dim, mutation_rate) for _ in range(children - children // 2)]
        born += [crossed(random, _one_of(random, parents), _one_of(random, parents)) for _ in range(children // 2)]
        population += [(child, scored(child)) for child in born[: scored.left]]
    return scored.result()


def random_search(
    score: Callable[[Candidate], float], num_fields: int, dim: int, *, budget: int = 600, seed: int = 0
) -> SearchResult:
    """The best of `budget` candidates drawn at random: what a search has to beat. Arguments as in `evolve`.

    Raises:
        InputError: `budget` is below 1, or a score is NaN.

    Example:
        >>> len(random_search(lambda candidate: -sum(candidate), num_fields=3, dim=4, budget=50).history)
        50
    """
    random = np.random.default_rng(seed)
    scored = _Scored(score, budget)
    while scored.left > 0:
        scored(draw(random, num_fields, dim))
    return scored.result()


def greedy_search(score: Callable[[Candidate], float], num_fields: int, dim: int, *, budget: int = 600) -> SearchResult:
    """Steps down and up, one field at a time, taken where they help; half as long once none helps.

    Starts from full width, with steps of dim / 2, and ends when steps of 1 no longer help or the budget is used up.
    Nothing is drawn. Arguments as in `evolve`.

    Raises:
        InputError: `budget` is below 1, or a score is NaN.

    Example:
        >>> greedy_search(lambda candidate: -sum(candidate), num_fields=3, dim=4).candidate
        (0, 0, 0)
    """
    scored = _Scored(score, budget)
    current: Candidate = (dim - 1,) * num_fields
    best, step = scored(current) if budget > 0 else 0.0, max(1, dim // 2)
    while scored.left > 0 and step:
        helped = False
        for place in range(num_fields):
            for gene in (max(0, current[place] - step), min(dim - 1, current[place] + step)):
                neighbour = (*current[:place], gene, *current[place + 1 :])
                if neighbour != current and scored.left > 0 and (value := scored(neighbour)) > best:
                    current, best, helped = neighbour, value, True
                    break
        if not helped:
            step //= 2
    return scored.result()


def draw(random: np.random.Generator, num_fields: int, dim: int) -> Candidate:
    """A candidate whose genes are uniform in 0 … dim - 1."""
    return tuple(random.integers(dim, size=num_fields).tolist())


def mutated(random: np.random.Generator, parent: Candidate, dim: int, rate: float) -> Candidate:
    """A copy of `parent` with each gene redrawn with probability `rate`."""
    redrawn = draw(random, len(parent), dim)
    chosen = random.random(len(parent)) < rate
    return tuple(new if change else old for new, old, change in zip(redrawn, parent, chosen, strict=True))


def crossed(random: np.random.Generator, first: Candidate, second: Candidate) -> Candidate:
    """The first genes of one and the last of the other; of a single gene, the first's."""
    cut = int(random.integers(1, len(first))) if len(first) > 1 else 1
    return (*first[:cut], *second[cut:])


def _one_of(random: np.random.Generator, parents: Sequence[Candidate]) -> Candidate:
    return parents[int(random.integers(len(parents)))]


def _checked(name: str, numbers: Sequence[int], least: int, most: Sequence[int]) -> Candidate:
    try:
        whole = tuple(map(operator.index, numbers))
    except TypeError:
        whole = ()
    if len(whole) != len(most) or any(not least <= number <= limit for number, limit in zip(whole, most, strict=True)):
        message = f"{name} must be a whole number a field, from {least} to {list(most)}; received {list(numbers)}"
        raise InputError(message)
    return whole
