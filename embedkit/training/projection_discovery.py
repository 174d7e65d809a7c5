"""PBN: novel classes in a space that is learnt from known ones and from what the rows look like.

It has the surface of a head and is none: its training needs torch, which heads do without.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from embedkit.errors import InputError
from embedkit.heads.novel_classes import NovelClassHead, Rows
from embedkit.heads.novel_kmeans import NovelClassKMeans
from embedkit.heads.validation import validated
from embedkit.losses.arguments import not_negative, positive, whole
from embedkit.ops.vectors import normalize


class ProjectionDiscovery(TransformerMixin, NovelClassHead):  # type: ignore[misc]  # sklearn is untyped
    """`NovelClassKMeans` on vectors of a small network that tells known classes apart and gives back its input (PBN).

        x = (X − mean) / sqrt(mean_i ‖X_i − mean‖²),   z = encoder(x) / ‖encoder(x)‖
        loss = weight · mean over rows of a class of CE(classifier(z), class)
             + (1 − weight) · mean over all rows of ‖decoder(z) − x‖²

    The encoder has layers of ⌊¾ width⌋ and ⌊½ width⌋ units before the last, the decoder the same the other way round;
    the classifier is one linear layer. What is clustered is the same z that is trained. Rows without a class are taken
    to be of novel ones.

    On vectors of a strong encoder expect little: it has to learn there what the vectors have already. It is made for
    features that are not yet vectors, such as the columns of a table.

    Args:
        num_novel: Novel classes; None estimates it, as in `NovelClassKMeans`.
        max_novel: The most that are tried.
        dim: Width of z; None for half the width of X, or 2.
        weight: Of known classes beside the rows' looks, 0 … 1. 0 gives an autoencoder, 1 a classifier. Without known
            classes it counts as 0. Choose it by hiding known classes and finding them again.
        epochs: Passes over the rows.
        batch_size: Rows a step.
        learning_rate: AdamW's.
        weight_decay: AdamW's.
        num_init: Beginnings of k-means.
        random_state: Where first weights, the order of rows and beginnings are drawn from.

    Attributes:
        known_classes_: Those that y names, sorted.
        novel_classes_: Names of those that were found: the integers after the largest known one, from 0; where classes
            are texts "novel 0", "novel 1" and so on, without such as are known classes.
        labels_: The class of each row of X, (n,); a row that has one keeps it.
        num_novel_: How many novel classes there are.
        num_novel_range_: The least and the largest number that is likely.
        k_scores_: Mean silhouette by number; empty where the number was given.
        clusterer_: The `NovelClassKMeans`, whose classes are numbered.
        center_: Mean of X, (width,).
        spread_: Root of the mean squared distance from there.
        weights_: Of the encoder's layers.
        biases_: Of the same.
        losses_: Mean loss of each epoch.

    Raises:
        InputError: At `fit`, an argument is out of range, or more classes are asked for than there are rows.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> X = np.concatenate([draw.normal(place, 0.1, size=(10, 4)) for place in (0, 1, -1)])
        >>> y = np.repeat([3, -1, -1], 10)
        >>> head = ProjectionDiscovery(num_novel=1, epochs=2, random_state=0).fit(X, y)
        >>> sorted(set(head.labels_.tolist())), head.transform(X).shape
        ([3, 4], (30, 2))

    Reference:
        C. Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data", Data Mining and
        Knowledge Discovery, 2024.

    Deviations:
        Batches are drawn anew in each epoch, errors are a share of the spread of X, and there is no dropout. The
        authors' code clusters other rows than those of `fit` before they are brought to length 1, and is not a number
        after a batch without known classes.
    """

    def __init__(  # noqa: PLR0913 (what a training run is made of)
        self,
        *,
        num_novel: int | None = None,
        max_novel: int = 30,
        dim: int | None = None,
        weight: float = 0.5,
        epochs: int = 200,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        num_init: int = 10,
        random_state: Any = None,
    ) -> None:
        self.num_novel = num_novel
        self.max_novel = max_novel
        self.dim = dim
        self.weight = weight
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.num_init = num_init
        self.random_state = random_state

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803 (scikit-learn's name)
        """Where rows lie in the learnt space, (n, dim), of length 1; no torch is needed.

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        return self._projected(validated(self, X, reset=False, dtype=(np.float64, np.float32)))

    def _discovered(self, rows: Rows, known: NDArray[np.int64]) -> NDArray[np.int64]:
        if not_negative("weight", self.weight) > 1:
            raise InputError(f"weight must be a share, 0 … 1; received {self.weight!r}")
        learning, clustering = check_random_state(self.random_state).randint(2**31, size=2).tolist()
        self.center_ = rows.mean(axis=0, dtype=np.float64)
        self.spread_ = float(np.sqrt(np.square(rows - self.center_).sum(axis=1).mean())) or 1.0
        self._learn(rows, known, learning)
        self.clusterer_ = NovelClassKMeans(
            num_novel=self.num_novel,
            max_novel=self.max_novel,
            num_init=self.num_init,
            random_state=clustering,
        ).fit(self._projected(rows), known)
        self.num_novel_, self.num_novel_range_ = self.clusterer_.num_novel_, self.clusterer_.num_novel_range_
        self.k_scores_ = self.clusterer_.k_scores_
        codes: NDArray[np.int64] = self.clusterer_.labels_  # classes are numbered, novel ones after the known
        return codes

    def __sklearn_tags__(self) -> Any:
        """What `transform` gives is float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _nearest(self, rows: Rows) -> NDArray[np.int64]:
        codes: NDArray[np.int64] = self.clusterer_.predict(self._projected(rows))
        return codes

    def _learn(self, rows: Rows, known: NDArray[np.int64], seed: int) -> None:
        """Train the network; what is kept is the encoder."""
        width, num_known = rows.shape[1], int(known.max()) + 1
        half = max(2, width // 2)  # of length 1 a single number would tell two classes apart
        dim = half if self.dim is None else whole("dim", self.dim)
        sizes = [width, max(2, 3 * width // 4), half, dim]
        draw, order = np.random.RandomState(seed), np.random.RandomState(seed)
        encoder, decoder = _network(sizes, draw), _network(sizes[::-1], draw)
        classifier = _network([dim, max(num_known, 1)], draw)
        optimizer = torch.optim.AdamW(
            [*encoder.parameters(), *decoder.parameters(), *classifier.parameters()],
            lr=positive("learning_rate", self.learning_rate),
            weight_decay=not_negative("weight_decay", self.weight_decay),
        )
        inputs, labels = torch.from_numpy(self._scaled(rows)), torch.from_numpy(known)
        weight = float(self.weight) if num_known else 0.0
        self.losses_ = []
        size = whole("batch_size", self.batch_size)
        for _ in range(whole("epochs", self.epochs)):
            total = 0.0
            for batch in torch.split(torch.from_numpy(order.permutation(len(rows))), size):
                latents = functional.normalize(encoder(inputs[batch]), dim=1)
                likeness = (decoder(latents) - inputs[batch]).square().sum(dim=1).mean()
                loss = weight * _known_loss(classifier(latents), labels[batch]) + (1 - weight) * likeness
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(batch)
            self.losses_.append(total / len(rows))
        layers = [layer for layer in encoder if isinstance(layer, nn.Linear)]
        self.weights_ = [layer.weight.detach().numpy().T.copy() for layer in layers]
        self.biases_ = [layer.bias.detach().numpy().copy() for layer in layers]

    def _scaled(self, rows: Rows) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = ((rows - self.center_) / self.spread_).astype(np.float32)
        return scaled

    def _projected(self, rows: Rows) -> NDArray[np.float32]:
        found = self._scaled(rows)
        for place, (weights, biases) in enumerate(zip(self.weights_, self.biases_, strict=True)):
            found = (np.maximum(found, 0) if place else found) @ weights + biases
        return normalize(found)


def _network(sizes: list[int], draw: np.random.RandomState) -> nn.Sequential:
    """Linear layers with ReLU between them, begun as torch begins them but from `draw`."""
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layer, bound = skip_init(nn.Linear, size, following), size**-0.5  # type: ignore[no-untyped-call]
        for part in layer.parameters():
            values = draw.uniform(-bound, bound, size=tuple(part.shape)).astype(np.float32)
            part.data = torch.from_numpy(values)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _known_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the rows that have a class; 0 where none has."""
    named = labels >= 0
    return functional.cross_entropy(logits[named], labels[named], reduction="sum") / named.sum().clamp(min=1)
