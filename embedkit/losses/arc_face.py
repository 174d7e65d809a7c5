"""ArcFace: a classifier by cosines, whose right answer must win by an angle."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import check_classes, check_narrower, not_negative, positive, whole
from embedkit.ops.similarity import cosine_similarity


class ArcFaceLoss(nn.Module):
    """Cross-entropy of a classifier by cosines, with a margin on the angle to the own class (ArcFace, Eq. 3).

        logits_ic = scale · cos θ_ic,  and scale · cos(θ_ic + margin) for the own class, c = labels_i
        loss = mean_i −log softmax(logits_i)[labels_i]

    with θ_ic the angle between embedding i and the weights of class c, which are trained with the embeddings.

    Narrower embeddings meet the first columns of the weights, so that one classifier serves every prefix under a
    Matryoshka.

    Args:
        dim: Width of the embeddings, at most.
        num_classes: Labels there are: 0 … num_classes − 1.
        margin: Angle in radians, 0 … π/2; 0 is a softmax over scaled cosines. Others take degrees, such as
            pytorch-metric-learning, where 28.6 is what 0.5 is here.
        scale: Multiplies the cosines; above 0.
        seed: Of the first weights, drawn from N(0, 1): their direction is what counts.

    Raises:
        InputError: An argument is no number, or out of range.

    Example:
        >>> loss = ArcFaceLoss(2, num_classes=2, margin=0.5, scale=1.0)
        >>> _ = loss.weights.data.copy_(torch.eye(2))
        >>> value = loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
        >>> round(value.item(), 4)  # log(1 + exp(cos(π/2) - cos(0 + 0.5)))
        0.3477

    Reference:
        J. Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, Eq. 3.

    Deviations:
        Where θ + margin passes π, cos(θ + margin) would rise again. There the own logit is
        scale · (cos θ − margin · sin margin), as in the authors' first code, which goes on falling; the loss jumps
        up at the step between the two. At cosines of exactly ±1, where the angle has no gradient, the sine's is 0.
        The authors draw the first weights shorter, from N(0, 0.01²): the shorter, the greater their gradient.
    """

    def __init__(self, dim: int, num_classes: int, *, margin: float = 0.5, scale: float = 64.0, seed: int = 0) -> None:
        super().__init__()
        shape = whole("num_classes", num_classes, least=2), whole("dim", dim)
        self.margin = not_negative("margin", margin)
        if self.margin > math.pi / 2:
            message = f"margin must be an angle in radians, 0 … π/2; received {margin!r:.100}; 0.5 is 28.6 degrees"
            raise InputError(message)
        self.scale = positive("scale", scale)
        generator = torch.Generator().manual_seed(whole("seed", seed, least=0))
        self.weights = nn.Parameter(torch.randn(shape, generator=generator))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n · num_classes numbers of memory.

        Args:
            embeddings: (n, dim), no wider than the weights.
            labels: (n,) integers, 0 … num_classes − 1.

        Returns:
            0-d; 0 for an empty batch.

        Raises:
            InputError: The embeddings are none or too wide, or the labels are not one class for each.
        """
        check_narrower(embeddings, self.weights.shape[1])
        check_classes(labels, len(embeddings), len(self.weights))
        classes = labels.long()
        cosines = cosine_similarity(embeddings, self.weights[:, : embeddings.shape[1]])
        own = self._farther(cosines.gather(1, classes[:, None]))
        logits = self.scale * cosines.scatter(1, classes[:, None], own)
        return functional.cross_entropy(logits, classes, reduction="sum") / max(len(classes), 1)

    def extra_repr(self) -> str:
        """Sizes and settings, which tell one training run from another."""
        num_classes, dim = self.weights.shape
        return f"dim={dim}, num_classes={num_classes}, margin={self.margin}, scale={self.scale}"

    def _farther(self, cosines: Tensor) -> Tensor:
        # Cosines of the angles with the margin added.
        squares = (1 - cosines) * (1 + cosines)
        flat = squares <= 0  # there the gradient of a root is infinite
        sines = squares.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
        farther = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = cosines <= -math.cos(self.margin)
        return torch.where(beyond, cosines - self.margin * math.sin(self.margin), farther)
