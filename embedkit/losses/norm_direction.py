"""ND: a student's embeddings as long as a teacher's, and in the direction of their class there."""

import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import Loss, check_narrower, check_row_numbers, labelled_loss, not_negative
from embedkit.ops.labels import class_means
from embedkit.ops.similarity import pairwise_dot_product
from embedkit.ops.vectors import as_embeddings, as_labels

_SHORTEST = 1e-12


class NormDirectionLoss(nn.Module):
    """A loss with labels, plus what an embedding lacks of the direction and the length it has at a teacher (ND; KD++).

        total = loss(embeddings, labels) + weight · mean_i [ 1 − ⟨s_i, e_y⟩ / max(‖s_i‖, ‖t_i‖) ]

    with s the embeddings, t the teacher's of the same examples, and e_y the direction of the teacher's mean of the
    class of i. Where s is no shorter than t this is 1 − cos(s, e); a shorter one gains by growing, which embeddings of
    length 1 cannot. Narrower embeddings meet the first coordinates of the teacher's.

    It remembers the training set, and is called with the number of each row in place of its class. `fit` and
    `fit_projection`, which are given the classes, do so for losses that have `row_labels`. The wrapped loss gets the
    class.

    Args:
        loss: Called with embeddings and labels.
        teacher: Embeddings of each training example by the teacher, (rows, dim), in the order of the examples; no
            narrower than the student's.
        labels: Class of each training example, (rows,) integers; the wrapped loss gets the same numbers.
        weight: Of the second term; 0 leaves the loss as it is.

    Raises:
        InputError: `loss` is no instance, the teacher's embeddings or labels are none, or the weight is below 0.

    Example:
        >>> def nothing(embeddings, labels):
        ...     return 0 * embeddings.sum()
        >>> loss = NormDirectionLoss(nothing, teacher=[[3.0, 4.0], [3.0, 4.0]], labels=[0, 0], weight=1.0)
        >>> round(loss(torch.tensor([[1.5, 2.0]]), torch.tensor([0])).item(), 4)  # right direction, half as long
        0.5

    Reference:
        Y. Wang, L. Cheng, M. Duan, Y. Wang, Z. Feng, S. Kong, "Improving Knowledge Distillation via Regularizing
        Feature Norm and Direction", arXiv 2305.17007, 2023.

    Deviations:
        None; the authors' code rounds the class means to four digits.
    """

    teacher: Tensor
    means: Tensor
    labels: Tensor
    codes: Tensor

    def __init__(self, loss: Loss, teacher: Any, labels: ArrayLike, *, weight: float = 1.0) -> None:
        super().__init__()
        self.loss = labelled_loss(loss)
        self.weight = not_negative("weight", weight)
        vectors = torch.from_numpy(as_embeddings(teacher, what="teacher"))
        given = torch.from_numpy(as_labels(labels, len(vectors)))
        if not len(vectors):
            raise InputError("teacher must be embeddings of the training examples; received none")
        classes = class_means(vectors, given)
        self.checksum = zlib.crc32(
            vectors.numpy().tobytes() + given.numpy().tobytes()
        )  # tells one training run from another
        self.register_buffer("teacher", vectors)
        self.register_buffer("means", classes.means)
        self.register_buffer("labels", given)
        self.register_buffer("codes", classes.codes)

    @property
    def row_labels(self) -> NDArray[np.int64]:
        """Classes of the training examples that it remembers."""
        return self.labels.cpu().numpy()

    def forward(self, embeddings: Float[Tensor, "n dim"], rows: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            embeddings: (n, dim), no wider than the teacher's.
            rows: Which training example each is, (n,) integers.

        Returns:
            0-d.

        Raises:
            InputError: The embeddings are none or too wide, or the rows are not numbers of training examples.
        """
        wrapped, direction = self.terms(embeddings, rows).values()
        return wrapped + direction

    def terms(self, embeddings: Float[Tensor, "n dim"], rows: Shaped[Tensor, "n"]) -> dict[str, Tensor]:
        """What the loss is the sum of: "wrapped" and "direction"."""
        check_narrower(embeddings, self.teacher.shape[1])
        check_row_numbers(rows, len(embeddings), len(self.labels))
        numbers, width = rows.long(), embeddings.shape[1]
        directions = functional.normalize(self.means[self.codes[numbers], :width], dim=1)
        along = pairwise_dot_product(embeddings, directions)
        own, theirs = (
            torch.linalg.vector_norm(each.to(along), dim=1) for each in (embeddings, self.teacher[numbers, :width])
        )
        lengths = torch.maximum(own, theirs)
        short = lengths < _SHORTEST
        lacking = 1 - (along / lengths.masked_fill(short, 1)).masked_fill(short, 0)
        lacking = lacking.sum() / max(len(embeddings), 1)
        return {"wrapped": self.loss(embeddings, self.labels[numbers]), "direction": self.weight * lacking}

    def extra_repr(self) -> str:
        """The setting, which tells one training run from another."""
        return f"weight={self.weight}"
