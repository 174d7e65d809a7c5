"""A loss tried on vectors that are known already: a linear map in front of it, trained in seconds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sentence_transformers.base.modules import Dense
from torch import Tensor, nn
from tqdm import trange

from embedkit.errors import InputError
from embedkit.losses.arguments import not_negative, positive, whole
from embedkit.ops.vectors import as_embeddings, as_labels, normalize
from embedkit.training.batches import check_per_class, class_batches
from embedkit.training.fit import check_loss
from embedkit.training.memory import begin_epoch, remembers


@dataclass(frozen=True, eq=False)
class Projection:
    """What `fit_projection` found.

    Attributes:
        weights: (width, dim).
        losses: Of each step.
    """

    weights: NDArray[np.float32]
    losses: tuple[float, ...]

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Where vectors lie now, (n, dim), of length 1.

        Args:
            X: (n, width).

        Raises:
            InputError: They have another width, or are not finite.
        """
        projected: NDArray[np.float32] = normalize(as_embeddings(X, dim=len(self.weights)) @ self.weights)
        return projected

    def module(self) -> Dense:
        """As a module that an encoder can end in: `Encoder([*encoder, projection.module(), Normalize()])`."""
        width, dim = self.weights.shape
        weight = torch.from_numpy(self.weights.T.copy())
        return Dense(width, dim, bias=False, activation_function=None, init_weight=weight)


def fit_projection(  # noqa: PLR0913 (what a training run is made of)
    loss: nn.Module,
    X: Any,
    y: ArrayLike,
    dim: int,
    *,
    steps: int = 300,
    batch_size: int = 96,
    per_class: int = 4,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> Projection:
    """Train a linear map of vectors with a loss on embeddings and labels: how a loss is tried without an encoder.

        embeddings = X W / ‖X W‖

    W begins as the first `dim` principal directions of X, so that an untrained one keeps the cosines as well as a map
    to `dim` can. Adam, at one rate; the loss's own weights are trained too.

    Args:
        loss: Called with embeddings (batch, dim) and labels (batch,), such as those of `embedkit.losses`. One that
            has `row_labels` gets the rows of X for labels, and `begin_epoch` is told when an epoch begins.
        X: Vectors of a frozen encoder, (n, width).
        y: Classes, (n,) integers.
        dim: Width of the map's vectors, 1 … width.
        steps: Of the optimiser.
        batch_size: Rows a step.
        per_class: Rows of a class in a batch, as in `class_batches`.
        learning_rate: Adam's.
        weight_decay: Of AdamW, towards W = 0.
        seed: Of the batches.
        show_progress_bar: None shows one on a terminal.

    Returns:
        The map.

    Raises:
        InputError: An argument is out of range, `loss` is no instance of a loss, X is no matrix of finite numbers, or y
            not one integer a row.

    Example:
        >>> from embedkit.losses import SupConLoss
        >>> X, y = np.random.default_rng(0).normal(size=(40, 8)), np.arange(40) % 4
        >>> projection = fit_projection(SupConLoss(), X, y, 4, steps=5)
        >>> projection.transform(X).shape
        (40, 4)
    """
    check_loss(loss, ["embeddings", "labels"])
    vectors = as_embeddings(X, what="X")
    labels = torch.from_numpy(as_labels(y, len(vectors)))
    if not len(vectors) or not 1 <= whole("dim", dim) <= vectors.shape[1]:
        raise InputError(f"X must have rows, and dim be at most its width; received X of {vectors.shape} and dim={dim}")
    check_per_class(per_class, whole("batch_size", batch_size))
    whole("steps", steps)
    rows = torch.from_numpy(vectors)
    told = torch.arange(len(rows)) if remembers(loss, labels.numpy()) else labels
    weights = nn.Parameter(torch.from_numpy(_principal_directions(vectors, dim)))
    optimizer = torch.optim.AdamW(
        [weights, *loss.parameters()],
        lr=positive("learning_rate", learning_rate),
        weight_decay=not_negative("weight_decay", weight_decay),
    )

    def embed(some: slice | list[int]) -> Tensor:
        return nn.functional.normalize(rows[some] @ weights, dim=1)

    losses: list[float] = []
    epoch = 0
    batches: Iterator[list[int]] = iter(())
    for step in trange(steps, disable=None if show_progress_bar is None else not show_progress_bar):
        batch = next(batches, None)
        if batch is None:
            begin_epoch(loss, epoch, lambda: embed(slice(None)).detach().numpy())
            epoch += 1
            batches = class_batches(labels.tolist(), batch_size, per_class, seed=seed + step)
            batch = next(batches)
        value = loss(embed(batch), told[batch])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return Projection(weights.detach().numpy(), tuple(losses))


def _principal_directions(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The first `dim`, (width, dim); orthonormal also where the vectors have fewer."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    return np.ascontiguousarray(directions[:, :dim], dtype=np.float32)
