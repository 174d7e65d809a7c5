"""The subspace in which vectors of leaves give away their tree: what is learned, its loss, and reading a tree."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from embedkit.encoders.code.syntax_tree import TreeTuple
from embedkit.errors import InputError
from embedkit.types import Embeddings

_NO_LABEL = -100  # what cross-entropy leaves out
_SORTED = 8  # batches whose trees are sorted by length, to pad less


class AstSubspace(nn.Module):
    """A basis B of a subspace, and a vector in it for each label.

    In it the distance between leaf i - 1 and leaf i is ||B h_i-1 - B h_i||², the score of label c for the gap
    <B (h_i - h_i-1), v_c>, and the score of unary label u for leaf i <B h_i, v_u>.

    Args:
        dim: Width of the vectors.
        rank: Dimensions of the subspace, 1 … dim.
        num_labels: How many labels gaps may have.
        num_unary: How many labels leaves may have.
        seed: Of the first weights; B begins orthonormal.

    Raises:
        InputError: `rank` is out of range.

    Example:
        >>> subspace = AstSubspace(dim=4, rank=2, num_labels=3, num_unary=2)
        >>> distances, labels, unary = subspace(torch.ones(1, 5, 4))
        >>> distances.shape, labels.shape, unary.shape
        (torch.Size([1, 4]), torch.Size([1, 4, 3]), torch.Size([1, 5, 2]))

    Reference:
        J. A. Hernández López, M. Weyssow, J. S. Cuadrado, H. Sahraoui, "AST-Probe: Recovering Abstract Syntax Trees
        from Hidden Representations of Pre-Trained Language Models", ASE 2022, Section 4.
    """

    def __init__(self, dim: int, rank: int, num_labels: int, num_unary: int, *, seed: int = 0) -> None:
        super().__init__()
        if not 1 <= rank <= dim:
            raise InputError(f"rank must be between 1 and the width of the vectors, {dim}; received {rank}")
        random = torch.Generator().manual_seed(seed)
        self.basis = nn.Parameter(torch.linalg.qr(torch.randn(dim, rank, generator=random))[0].T.contiguous())
        self.labels = nn.Parameter(torch.randn(num_labels, rank, generator=random) * rank**-0.5)
        self.unary = nn.Parameter(torch.randn(num_unary, rank, generator=random) * rank**-0.5)

    def forward(
        self, vectors: Float[Tensor, "batch leaves dim"]
    ) -> tuple[Float[Tensor, "batch gaps"], Float[Tensor, "batch gaps labels"], Float[Tensor, "batch leaves unary"]]:
        """Distances and label scores of the gaps, and unary scores of the leaves."""
        inside = vectors @ self.basis.T
        steps = inside[:, 1:] - inside[:, :-1]
        return steps.square().sum(-1), steps @ self.labels.T, inside @ self.unary.T

    def penalty(self) -> Float[Tensor, ""]:
        """||B B^T - I||²_F, which is 0 when the basis is orthonormal."""
        return (self.basis @ self.basis.T - torch.eye(len(self.basis))).square().sum()


def ranking_loss(
    predicted: Float[Tensor, "batch gaps"],
    distances: Float[Tensor, "batch gaps"],
    mask: Bool[Tensor, "batch gaps"],
) -> Float[Tensor, ""]:
    """Mean over trees of the mean of ReLU(1 - sign(d_i - d_j) (predicted_i - predicted_j)) over pairs i < j.

    Args:
        predicted: Distances in the subspace.
        distances: Those of the trees.
        mask: Which gaps there are.

    Returns:
        The loss; 0 where no tree has two gaps.
    """
    order = torch.sign(distances[:, :, None] - distances[:, None])
    pairs = torch.triu(mask[:, :, None] & mask[:, None] & (order != 0), diagonal=1)
    hinge = torch.relu(1 - order * (predicted[:, :, None] - predicted[:, None])) * pairs
    return (hinge.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).mean()


@dataclass(frozen=True)
class TreeReader:
    """A fitted subspace, and the labels its scores stand for.

    Attributes:
        subspace: The subspace.
        labels: Labels of gaps, by number.
        unary: Labels of leaves, by number.
    """

    subspace: AstSubspace
    labels: tuple[str, ...]
    unary: tuple[str, ...]

    def read(self, vectors: Embeddings) -> tuple[list[float], list[str], list[str]]:
        """Distances, labels and unary labels that the vectors of one tree's leaves give, for `constituents`."""
        with torch.inference_mode():
            distances, labels, unary = self.subspace(torch.from_numpy(vectors)[None])
        return (
            distances[0].tolist(),
            [self.labels[label] for label in labels[0].argmax(-1).tolist()],
            [self.unary[label] for label in unary[0].argmax(-1).tolist()],
        )


def fit_subspace(
    vectors: Sequence[Embeddings],
    trees: Sequence[TreeTuple],
    *,
    rank: int = 64,
    num_steps: int = 1200,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    orthonormality: float = 5.0,
    seed: int = 0,
) -> TreeReader:
    """Learn the subspace from trees.

    What is minimised is the ranking loss of the distances, plus the cross-entropies of labels and unary labels, plus
    `orthonormality` · ||B B^T - I||²_F.

    Args:
        vectors: For each tree the vectors of its leaves, (leaves, dim).
        trees: The trees; their labels are the ones that can be read later.
        rank: Dimensions of the subspace, 1 … dim.
        num_steps: Steps of Adam, from 1. Below some 1,000 vectors that hold nothing can look as good as others.
        batch_size: Trees a step, from 1.
        learning_rate: Of the first steps; a fifth of it from 60 % of them on, a twenty-fifth from 85 % on.
        orthonormality: Weight of the penalty, 0 or more.
        seed: Of the first weights and the order of the trees.

    Returns:
        What reads trees from vectors.

    Raises:
        InputError: There is no tree, or an argument is out of range.

    Example:
        >>> import numpy as np
        >>> tree = TreeTuple(((0, 1), (1, 2), (2, 3)), (2, 1), ("Call", ""), ("", "", ""))
        >>> reader = fit_subspace([np.eye(3, dtype=np.float32)], [tree], rank=3, num_steps=300, learning_rate=0.01)
        >>> distances, labels, _ = reader.read(np.eye(3, dtype=np.float32))
        >>> distances[0] > distances[1], labels
        (True, ['Call', ''])

    Reference:
        J. A. Hernández López, M. Weyssow, J. S. Cuadrado, H. Sahraoui, "AST-Probe: Recovering Abstract Syntax Trees
        from Hidden Representations of Pre-Trained Language Models", ASE 2022, Section 4.

    Deviations:
        A fixed number of steps with two drops of the rate takes the place of drops and an end that follow the loss of
        validation trees. Trees of like length share a batch. Pairs of equal distances, which add a constant to the
        paper's loss, are left out of it and of its mean. Labels come from the training trees alone; the paper's code
        takes those of all splits.
    """
    if not trees or len(trees) != len(vectors):
        raise InputError(f"each tree needs its vectors, and one tree is the least; received {len(trees)} trees")
    for name, value in (("num_steps", num_steps), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name} must be at least 1; received {value}")
    labels = _vocabulary(label for tree in trees for label in tree.labels)
    unary = _vocabulary(label for tree in trees for label in tree.unary)
    subspace = AstSubspace(vectors[0].shape[1], rank, len(labels), len(unary), seed=seed)
    data = [
        (
            torch.from_numpy(own),
            torch.tensor(tree.distances, dtype=torch.float32),
            torch.tensor([labels[label] for label in tree.labels], dtype=torch.long),
            torch.tensor([unary[label] for label in tree.unary], dtype=torch.long),
        )
        for own, tree in zip(vectors, trees, strict=True)
    ]
    optimizer = torch.optim.Adam(subspace.parameters(), lr=learning_rate)
    drops = [round(share * num_steps) for share in (0.6, 0.85)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.2)
    batches = _batches([len(own) for own in vectors], batch_size, seed)
    for batch in islice(batches, num_steps):
        loss = _loss(subspace, [data[place] for place in batch]) + orthonormality * subspace.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return TreeReader(subspace, tuple(labels), tuple(unary))


def _batches(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Places of all items in an order of chance, again and again; of a few batches in a row, like lengths together."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(lengths)).tolist()
        epoch: list[list[int]] = []
        for start in range(0, len(order), _SORTED * batch_size):
            group = sorted(order[start : start + _SORTED * batch_size], key=lengths.__getitem__)
            epoch += [group[at : at + batch_size] for at in range(0, len(group), batch_size)]
        yield from (epoch[place] for place in random.permutation(len(epoch)))


def _vocabulary(labels: Iterable[str]) -> dict[str, int]:
    return {label: number for number, label in enumerate(sorted({"", *labels}))}


def _loss(subspace: AstSubspace, batch: Sequence[Sequence[Shaped[Tensor, "..."]]]) -> Any:
    vectors, distances, labels, unary = zip(*batch, strict=True)
    padded = [pad_sequence(list(each), batch_first=True, padding_value=_NO_LABEL) for each in (labels, unary)]
    predicted, label_scores, unary_scores = subspace(pad_sequence(list(vectors), batch_first=True))
    ranked = ranking_loss(predicted, pad_sequence(list(distances), batch_first=True), padded[0] != _NO_LABEL)
    return ranked + _entropy(label_scores, padded[0]) + _entropy(unary_scores, padded[1])


def _entropy(scores: Any, labels: Any) -> Any:
    """Mean cross-entropy; 0 where there is nothing to label."""
    total = cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=_NO_LABEL, reduction="sum")
    return total / (labels != _NO_LABEL).sum().clamp(min=1)
