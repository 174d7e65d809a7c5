"""SimLAP: any two classes are alike in some subspace, which is learnt."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import softplus

from embedkit.losses.arguments import check_classes, check_narrower, positive, whole
from embedkit.losses.draws import Draws
from embedkit.ops.labels import log_sum_exp, mean_where
from embedkit.ops.similarity import dot_product

_SHORTEST = 1e-12


class SimLAPLoss(nn.Module):
    """Contrast of two classes with all others, by the coordinates that a gate of the two lets through (SimLAP; Hydra).

        gate_ab = sigmoid(MLP((E_a + E_b) / 2))                                              (dim,)
        s_ij = cos(gate ⊙ x_i, gate ⊙ x_j) / temperature
        loss = mean over i and positives p of log(1 + Σ_n exp(s_in − s_ip))

    For an anchor i of class a, b is another class of the batch, or a itself; positives are the other rows of b,
    negatives those that are neither of a nor of b. Which class is with which is a permutation, drawn for each batch by
    a generator of the loss's own, whose state is part of `state_dict()`. Narrower embeddings meet the first coordinates
    of the gates. For n rows n² numbers of memory are taken.

    What it makes alike is what the gates show; plain cosines, by which an index searches, are not trained directly.

    Args:
        dim: Width of the embeddings, at most.
        num_classes: Labels there are: 0 … num_classes − 1; 3 or more, since of two classes none is a negative.
        temperature: Divides the cosines; above 0.
        hidden: Width of the vectors E of classes, and of the hidden layer.
        seed: Of the first weights and of the draws.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> loss = SimLAPLoss(4, num_classes=3)
        >>> one, other = torch.tensor([0]), torch.tensor([1])
        >>> torch.equal(loss.gates(one, other), loss.gates(other, one))
        True

    Reference:
        J. Wu, S. Atito, Z. Feng, S. Mo, J. Kittler, M. Awais, "Rethinking Positive Pairs in Contrastive Learning",
        arXiv 2410.18200, 2024.

    Deviations:
        Partners are drawn by class, not by row; no batch normalisation of the vectors of classes, which would make a
        gate depend on the batch; the linear probe, which has no gradient into the encoder, is left out.
    """

    def __init__(
        self, dim: int, num_classes: int, *, temperature: float = 0.1, hidden: int = 128, seed: int = 0
    ) -> None:
        super().__init__()
        whole("dim", dim)
        whole("num_classes", num_classes, least=3)
        whole("hidden", hidden)
        self.temperature = positive("temperature", temperature)
        self.draws = Draws(seed)
        generator = torch.Generator().manual_seed(seed)

        def weights(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) / shape[-1] ** 0.5)

        self.classes = weights(num_classes, hidden)
        self.inner, self.outer = weights(hidden, hidden), weights(dim, hidden)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch; draws anew.

        Args:
            embeddings: (n, dim), no wider than the gates.
            labels: (n,) integers, 0 … num_classes − 1.

        Returns:
            0-d; 0 where no anchor has a positive and a negative.

        Raises:
            InputError: The embeddings are none or too wide, or the labels are not one class for each.
        """
        check_narrower(embeddings, self.outer.shape[0])
        check_classes(labels, len(embeddings), len(self.classes))
        rows = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        found, codes = torch.unique(labels, return_inverse=True)
        if not len(found):
            return rows.sum()
        partners = found[self.draws.permutation(len(found)).to(found.device)]
        gates = self.gates(found, partners)[:, : rows.shape[1]].to(rows)[codes]
        partner = partners[codes]
        beside = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positives = (labels[None, :] == partner[:, None]) & beside
        negatives = (labels[None, :] != labels[:, None]) & (labels[None, :] != partner[:, None])
        logits = _gated_cosines(rows, gates) / self.temperature
        against = log_sum_exp(logits, negatives)[:, None] - logits
        counted = positives & negatives.any(dim=1, keepdim=True)
        return mean_where(softplus(against).flatten(), counted.flatten())

    def gates(self, a: Shaped[Tensor, "pairs"], b: Shaped[Tensor, "pairs"]) -> Float[Tensor, "pairs dim"]:
        """What is let through of each coordinate, 0 … 1, for pairs of classes.

        Args:
            a: Classes, (pairs,).
            b: Classes, (pairs,).

        Returns:
            (pairs, dim); the order of the two does not matter.
        """
        means = (self.classes[a.long()] + self.classes[b.long()]) / 2
        return torch.sigmoid(dot_product(dot_product(means, self.inner).relu(), self.outer))

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        classes, hidden = self.classes.shape
        return f"dim={len(self.outer)}, num_classes={classes}, temperature={self.temperature}, hidden={hidden}"


def _gated_cosines(rows: Tensor, gates: Tensor) -> Tensor:
    """cos(gate_i ⊙ x_i, gate_i ⊙ x_j), (n, n), without an array of n² · dim."""
    squares = gates.square()
    products = dot_product(squares * rows, rows)
    lengths = dot_product(squares, rows.square())
    short = lengths < _SHORTEST**2
    lengths = lengths.masked_fill(short, 1).sqrt()
    return products.masked_fill(short | short.diagonal()[:, None], 0) / (lengths.diagonal()[:, None] * lengths)
