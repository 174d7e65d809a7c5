"""SBCL: frequent classes are cut into subclasses as small as the rare classes."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import check_row_numbers, check_rows, not_negative, positive, whole
from embedkit.ops.clusters import balanced_clusters
from embedkit.ops.labels import multi_positive_cross_entropy, same_class
from embedkit.ops.similarity import cosine_similarity
from embedkit.ops.vectors import as_embeddings, as_labels, normalize

_SMOOTHING, _NARROWEST = 10, 1e-6


class SBCLLoss(nn.Module):
    """SupCon by subclass, and more weakly by class, for classes of very different sizes (SBCL).

        loss = mean_i  −1 / |S_i| · Σ_{p ∈ S_i} log( exp(s_ip / τ) / Σ_{a ≠ i} exp(s_ia / τ) )
             + weight · mean_i  −1 / |C_i| · Σ_{p ∈ C_i} log( exp(s_ip / τ_c) / Σ_{a ∉ S_i, a ≠ i} exp(s_ia / τ_c) )

    with s_ij the cosine of embeddings i and j, S_i the others of the subclass of i, and C_i those of its class in other
    subclasses; each mean over the anchors that have such. A class of n_c examples has
    max(1, ⌊n_c / max(min_cluster_size, n of the rarest)⌋) subclasses of like size, found by clustering; τ_c is τ times
    how widely the class spreads, beside the mean of all. Before the first clustering each class is one subclass, which
    makes it SupCon.

    It remembers the training set, and is called with the number of each row in place of its class. `fit` and
    `fit_projection`, which are given the classes, do so for losses that have `row_labels`, and tell them when an epoch
    begins; a run of fewer epochs than `warmup` is one of SupCon. Use batches of several rows of a class, such as those
    of `SeveralPerClass`.

    Args:
        labels: Class of each training example, (rows,) integers, in the order of the examples.
        temperature: τ; above 0.
        weight: Of the second sum.
        min_cluster_size: Size that subclasses do not go below.
        warmup: Epochs before the first clustering.
        refresh_every: Epochs from one clustering to the next, for each of which all examples are encoded.
        seed: Of the clustering.

    Raises:
        InputError: Labels are not integers, or a number is out of range.

    Example:
        >>> loss = SBCLLoss([5, 5, 5, 5, 9, 9], temperature=1.0, min_cluster_size=2, warmup=0)
        >>> loss.begin_epoch(0, lambda: np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0], [-1, 0]]))
        >>> loss.subclasses.tolist() in ([0, 0, 1, 1, 2, 2], [1, 1, 0, 0, 2, 2])
        True

    Reference:
        C. Hou, J. Zhang, H. Wang, T. Zhou, "Subclass-balancing Contrastive Learning for Long-tailed Recognition", ICCV
        2023.

    Deviations:
        Both sums have one scale. The authors' code multiplies the first alone by τ / 0.07, and only after the warm-up;
        it clusters without balance, as its balanced form does not run; and the second sum has the anchor's own view
        among the positives. They cluster anew every ten of a thousand epochs, after ten.
    """

    classes: Tensor
    subclasses: Tensor
    temperatures: Tensor
    clustered: Tensor

    def __init__(
        self,
        labels: ArrayLike,
        *,
        temperature: float = 0.1,
        weight: float = 0.25,
        min_cluster_size: int = 10,
        warmup: int = 1,
        refresh_every: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        given = np.asarray(labels)
        given = as_labels(given, given.size)
        if not len(given):
            raise InputError("labels must be those of the training examples; received none")
        self.temperature = positive("temperature", temperature)
        self.weight = not_negative("weight", weight)
        self.min_cluster_size = whole("min_cluster_size", min_cluster_size)
        self.warmup = whole("warmup", warmup, least=0)
        self.refresh_every = whole("refresh_every", refresh_every)
        self.seed = whole("seed", seed, least=0)
        self.checksum = zlib.crc32(given.tobytes())  # tells one training run from another
        codes = torch.from_numpy(np.unique(given, return_inverse=True)[1])
        self.register_buffer("classes", codes)
        self.register_buffer("subclasses", codes.clone())
        self.register_buffer("temperatures", torch.full((int(codes.max()) + 1,), self.temperature))
        self.register_buffer("clustered", torch.tensor(-1))

    @property
    def row_labels(self) -> NDArray[np.int64]:
        """Classes of the training examples that it remembers, by other numbers."""
        return self.classes.cpu().numpy()

    def begin_epoch(self, epoch: int, embed: Callable[[], Any]) -> None:
        """Cluster anew if it is time to.

        Args:
            epoch: From 0.
            embed: Gives the present embedding of each training example, (rows, dim).

        Raises:
            InputError: `embed` does not give one finite vector for each.
        """
        if epoch <= self.clustered or epoch < self.warmup or (epoch - self.warmup) % self.refresh_every:
            return
        vectors = normalize(as_embeddings(embed()))
        classes = self.row_labels
        if len(vectors) != len(classes):
            raise InputError(f"embed must give one vector for each of {len(classes)} rows; it gave {len(vectors)}")
        counts = np.bincount(classes)
        size = max(self.min_cluster_size, counts.min())
        subclasses, found, spreads = np.empty_like(classes), 0, np.empty(len(counts))
        for each, count in enumerate(counts):
            rows = np.flatnonzero(classes == each)
            parts = max(1, int(count // size))
            subclasses[rows] = found + balanced_clusters(vectors[rows], parts, seed=self.seed)
            found, spreads[each] = found + parts, _spread(vectors[rows])
        self.subclasses.copy_(torch.from_numpy(subclasses))
        self.temperatures.copy_(torch.from_numpy(self.temperature * _about_one(spreads)))
        self.clustered.fill_(epoch)

    def forward(self, embeddings: Float[Tensor, "n dim"], rows: Shaped[Tensor, "n"]) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory.

        Args:
            embeddings: (n, dim).
            rows: Which training example each is, (n,) integers.

        Returns:
            0-d; 0 where no class has two rows.

        Raises:
            InputError: The embeddings are none, or the rows are not numbers of training examples.
        """
        subclasses, classes = self.terms(embeddings, rows).values()
        return subclasses + classes

    def terms(self, embeddings: Float[Tensor, "n dim"], rows: Shaped[Tensor, "n"]) -> dict[str, Tensor]:
        """What the loss is the sum of: "subclasses" and "classes"."""
        check_rows(embeddings=embeddings)
        check_row_numbers(rows, len(embeddings), len(self.classes))
        classes, subclasses = self.classes[rows.long()], self.subclasses[rows.long()]
        positives, others = same_class(subclasses)
        cosines = cosine_similarity(embeddings, embeddings)
        near = multi_positive_cross_entropy(cosines / self.temperature, positives, positives | others)
        temperatures = self.temperatures[classes][:, None].to(cosines)
        wider = same_class(classes)[0] & ~positives
        return {
            "subclasses": near,
            "classes": self.weight * multi_positive_cross_entropy(cosines / temperatures, wider, others),
        }

    def extra_repr(self) -> str:
        """The settings, which tell one training run from another."""
        settings = ("temperature", "weight", "min_cluster_size", "warmup", "refresh_every", "seed")
        return ", ".join(f"{name}={getattr(self, name)}" for name in settings)


def _spread(vectors: NDArray[Any]) -> float:
    """Mean distance to the mean, less for more vectors (as in prototypical contrastive learning)."""
    distances = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
    return float(distances.mean() / np.log(len(vectors) + _SMOOTHING))


def _about_one(spreads: NDArray[Any]) -> NDArray[Any]:
    """Beside their mean; the highest and lowest fifth count as its edge, a class without any spread as the widest."""
    spreads = np.where(spreads > _NARROWEST, spreads, spreads.max())
    clipped = np.clip(spreads, *np.percentile(spreads, [20, 80]))
    mean = clipped.mean()
    return clipped / mean if mean > _NARROWEST else np.ones_like(clipped)
