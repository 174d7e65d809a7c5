"""Grassmann: a class is a subspace, and an embedding belongs to the one it lies in."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import check_classes, check_narrower, positive, whole
from embedkit.ops.similarity import cosine_similarity


class GrassmannLoss(nn.Module):
    """Cross-entropy of how far embeddings lie in the subspaces of the classes (GCR).

        logit_ic = scale · ‖S_cᵀ x_i‖ / ‖x_i‖,  S_cᵀ S_c = 1          loss = mean_i −log softmax(logits_i)[labels_i]

    S_c, (dim, rank), spans the subspace of class c; only what it spans matters, so that the subspaces are points of a
    Grassmann manifold. The gradient is tangent to it, and before each use the bases are made orthonormal again: a step
    of plain SGD is one of Riemannian SGD, retracted by QR, and any other optimiser will do. x and −x belong to the same
    classes. Of narrower embeddings the logits are of what the first coordinates of the bases span; they must be wider
    than `rank`.

    Args:
        dim: Width of the embeddings, at most.
        num_classes: Labels there are: 0 … num_classes − 1.
        rank: Dimensions of a subspace, 1 … dim; of all dim ones, all logits are `scale`.
        scale: Of the logits; above 0.
        seed: Of the first subspaces, which are random.

    Raises:
        InputError: A number is out of range.

    Example:
        >>> loss = GrassmannLoss(3, num_classes=2, rank=1, scale=1.0)
        >>> _ = loss.bases.data.copy_(torch.tensor([[[1.0], [0], [0]], [[0.0], [1], [0]]]))
        >>> loss.logits(torch.tensor([[-2.0, 0.0, 0.0], [3.0, 4.0, 0.0]])).round(decimals=4).tolist()
        [[1.0, 0.0], [0.6000000238418579, 0.800000011920929]]

    Reference:
        H. Wang, Z. Li, W. Zhang, "Get the Best of Both Worlds: Improving Accuracy and Transferability by Grassmann
        Class Representation", ICCV 2023.

    Deviations:
        The authors step along geodesics, by an optimiser of their own which a copied parameter escapes.
    """

    def __init__(self, dim: int, num_classes: int, *, rank: int = 8, scale: float = 25.0, seed: int = 0) -> None:
        super().__init__()
        whole("dim", dim, least=whole("rank", rank))
        shape = whole("num_classes", num_classes, least=2), dim, rank
        self.scale = positive("scale", scale)
        generator = torch.Generator().manual_seed(whole("seed", seed, least=0))
        self.bases = nn.Parameter(_orthonormal(torch.randn(shape, generator=generator)))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n · num_classes · rank numbers of memory.

        Args:
            embeddings: (n, dim), no wider than the bases.
            labels: (n,) integers, 0 … num_classes − 1.

        Returns:
            0-d; 0 for an empty batch.

        Raises:
            InputError: The embeddings are none or too wide, or the labels are not one class for each.
        """
        logits = self.logits(embeddings)
        check_classes(labels, *logits.shape)
        return functional.cross_entropy(logits, labels.long(), reduction="sum") / max(len(labels), 1)

    def logits(self, embeddings: Float[Tensor, "n dim"]) -> Float[Tensor, "n classes"]:
        """What the softmax is taken of: the class of the largest is the prediction.

        Args:
            embeddings: (n, dim), no wider than the bases.

        Returns:
            (n, num_classes), 0 … scale, in float32 at least.

        Raises:
            InputError: The embeddings are none, too wide, or cut to no more than `rank`.
        """
        count, dim, rank = self.bases.shape
        check_narrower(embeddings, dim)
        width = embeddings.shape[1]
        if width < dim and width <= rank:
            message = (
                f"embeddings must be wider than the subspaces, {rank}; received {width}: all classes would be alike"
            )
            raise InputError(message)
        with torch.no_grad():
            self.bases.copy_(_orthonormal(self.bases))
        # Of a basis made orthonormal within the graph only the span counts: its gradient is tangent to the manifold.
        bases = _orthonormal(self.bases[:, :width])
        shares = cosine_similarity(embeddings, bases.transpose(1, 2).flatten(0, 1))
        logits: Tensor = self.scale * torch.linalg.vector_norm(shares.reshape(-1, count, rank), dim=2)
        return logits

    def extra_repr(self) -> str:
        """Sizes, which tell one training run from another."""
        count, dim, rank = self.bases.shape
        return f"dim={dim}, num_classes={count}, rank={rank}, scale={self.scale}"


def _orthonormal(bases: Tensor) -> Tensor:
    """What spans the same, with columns of length 1 at right angles; orthonormal ones stay as they are."""
    columns, triangle = torch.linalg.qr(bases.float())
    signs = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    orthonormal: Tensor = columns * signs[..., None, :].to(columns)
    return orthonormal
