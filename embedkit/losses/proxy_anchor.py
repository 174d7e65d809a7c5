"""Proxy Anchor: one learnt proxy for each class is the anchor, and the batch its positives and negatives."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from embedkit.losses.arguments import check_classes, check_narrower, not_negative, positive, whole
from embedkit.ops.similarity import cosine_similarity


class ProxyAnchorLoss(nn.Module):
    """Pulls the rows of a class to its proxy and pushes all others away, the hardest most (Proxy Anchor, Eq. 4).

        loss = 1 / |P⁺| · Σ_{p ∈ P⁺}  log( 1 + Σ_{x of p's class}   exp(−scale · (s(x, p) − margin)) )
             + 1 / |P|  · Σ_{p ∈ P}   log( 1 + Σ_{x of another}     exp( scale · (s(x, p) + margin)) )

    with s the cosine, P the proxies of all classes, and P⁺ those of the classes in the batch. The proxies are
    trained with the embeddings.

    Narrower embeddings meet the first columns of the proxies, so that one set of them serves every prefix under a
    Matryoshka.

    Args:
        dim: Width of the embeddings, at most.
        num_classes: Labels there are: 0 … num_classes − 1.
        margin: Positives are pulled hardest below this cosine, negatives pushed hardest above its opposite.
        scale: α of the paper, multiplies the similarities; above 0. Higher looks at the hardest rows only.
        seed: Of the first proxies, drawn from N(0, 1): their direction is what counts.

    Raises:
        InputError: An argument is no number, or out of range.

    Example:
        >>> loss = ProxyAnchorLoss(2, num_classes=2, margin=0.0, scale=1.0)
        >>> _ = loss.weights.data.copy_(torch.eye(2))
        >>> value = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        >>> round(value.item(), 4)  # log(1 + exp(-1)) + 1/2 log(1 + exp(0))
        0.6598

    Reference:
        S. Kim et al., "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, Eq. 4.

    Deviations:
        The sums are taken of logarithms, so that no scale overflows. The authors draw the first proxies shorter, from
        N(0, 2 / num_classes). The shorter a proxy, the greater its gradient; theirs also have a hundred times the
        learning rate of the encoder.
    """

    def __init__(self, dim: int, num_classes: int, *, margin: float = 0.1, scale: float = 32.0, seed: int = 0) -> None:
        super().__init__()
        shape = whole("num_classes", num_classes, least=2), whole("dim", dim)
        self.margin = not_negative("margin", margin)
        self.scale = positive("scale", scale)
        generator = torch.Generator().manual_seed(whole("seed", seed, least=0))
        self.weights = nn.Parameter(torch.randn(shape, generator=generator))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n · num_classes numbers of memory.

        Args:
            embeddings: (n, dim), no wider than the proxies.
            labels: (n,) integers, 0 … num_classes − 1.

        Returns:
            0-d; 0 for an empty batch.

        Raises:
            InputError: The embeddings are none or too wide, or the labels are not one class for each.
        """
        check_narrower(embeddings, self.weights.shape[1])
        check_classes(labels, len(embeddings), len(self.weights))
        cosines = cosine_similarity(embeddings, self.weights[:, : embeddings.shape[1]])
        own = labels.long()[:, None]
        pulls = self.scale * (self.margin - cosines.gather(1, own))
        pushes = self.scale * (self.margin + cosines)
        present = torch.unique(own)
        pulled = _log_1_plus_sum_exp(pulls.masked_fill(own != present, -math.inf)).sum()
        pushed = _log_1_plus_sum_exp(pushes.scatter(1, own, -math.inf)).sum()
        return pulled / max(len(present), 1) + pushed / len(self.weights)

    def extra_repr(self) -> str:
        """Sizes and settings, which tell one training run from another."""
        num_classes, dim = self.weights.shape
        return f"dim={dim}, num_classes={num_classes}, margin={self.margin}, scale={self.scale}"


def _log_1_plus_sum_exp(exponents: Tensor) -> Tensor:
    # Over the rows. One more row of zeros is the 1; it also keeps columns of nothing but -inf finite.
    return functional.pad(exponents, (0, 0, 0, 1)).logsumexp(dim=0)
