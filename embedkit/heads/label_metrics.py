"""How far labels lie from each other."""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from embedkit.errors import InputError
from embedkit.ops.vectors import as_real

_ROUNDING = 1e-6
_MIDDLES = 256


def tree_distances(parents: Mapping[Any, Any], labels: Sequence[Hashable]) -> NDArray[np.float64]:
    """Lengths of the paths between labels in a tree, such as one of classes, their domains and a root.

        distance(a, b) = depth(a) + depth(b) − 2 depth(deepest common ancestor of a and b)

    Args:
        parents: The parent of each node; the root has none, or None.
        labels: The nodes whose distances are wanted, inner or not.

    Returns:
        (labels, labels), in the order of `labels`; lengths, not their squares.

    Raises:
        InputError: There is a cycle, there are several roots, or a label is no node.

    Example:
        >>> tree_distances({"cat": "animal", "dog": "animal", "animal": "thing", "car": "thing"}, ["cat", "dog", "car"])
        array([[0., 2., 3.],
               [2., 0., 3.],
               [3., 3., 0.]])
    """
    above = {child: parent for child, parent in parents.items() if parent is not None}
    nodes = set(parents) | set(above.values())
    if strange := [label for label in labels if label not in nodes]:
        raise InputError(f"labels must be nodes of the tree; it does not hold {strange[0]!r:.100}")
    paths = {node: _path(node, above) for node in nodes}
    if len(roots := {path[0] for path in paths.values()}) > 1:
        raise InputError(
            f"a tree has one root, which has no parent; these have none: {sorted(map(repr, roots))!s:.200}"
        )
    numbers = {node: number for number, node in enumerate(nodes)}
    depths = np.array([len(paths[label]) for label in labels], dtype=np.int64)
    # A path that has ended agrees with none, not even with another that has ended.
    ancestors = np.tile(-1 - np.arange(len(labels))[:, None], depths.max(initial=0))
    for row, label in enumerate(labels):
        ancestors[row, : depths[row]] = [numbers[node] for node in paths[label]]
    shared = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for level in ancestors.T:
        shared += level[:, None] == level[None, :]
    np.fill_diagonal(shared, depths)
    return (depths[:, None] + depths[None, :] - 2 * shared).astype(np.float64)


def _path(node: Hashable, above: Mapping[Any, Any]) -> list[Hashable]:
    """From the root to a node."""
    path = [node]
    while path[-1] in above:
        path.append(above[path[-1]])
        if len(path) > len(above) + 1:
            raise InputError(f"parents must lead to a root; from {node!r:.100} they lead in a circle")
    return path[::-1]


@dataclass(frozen=True)
class LabelMetric:
    """Labels in sorted order, and how far they lie from each other.

    Attributes:
        labels: (labels,).
        distances: (labels, labels), or None.
        vectors: (labels, width), whose Euclidean distance it is, or None. With neither, different labels are 1 apart.
    """

    labels: NDArray[Any]
    distances: NDArray[np.float64] | None
    vectors: NDArray[np.float64] | None

    @classmethod
    def of(cls, labels: Any, distances: Any, vectors: Any) -> Self:
        """Check and sort what a user gives; rows and columns follow `labels`, whatever its order.

        Raises:
            InputError: Labels repeat, both distances and vectors are given, or these are not as `FrechetClassifier`
                wants them.
        """
        if distances is not None and vectors is not None:
            raise InputError("give distances or label_vectors; received both")
        names = np.asarray(labels)
        if names.ndim != 1 or not len(names):
            raise InputError(f"labels must be one or more, in a list; received shape {names.shape}")
        ordered, places = np.unique(names, return_index=True)
        if len(ordered) < len(names):
            raise InputError(f"labels must differ; of {len(names)} only {len(ordered)} do")
        if distances is not None:
            distances = _checked_distances(distances, len(names))[np.ix_(places, places)]
        if vectors is not None:
            vectors = _checked_vectors(vectors, len(names))[places]
        return cls(ordered, distances, vectors)

    def places(self, seen: NDArray[Any]) -> NDArray[np.int64]:
        """Where the classes that were seen stand among the labels.

        Raises:
            InputError: One is no label.
        """
        known = {label: place for place, label in enumerate(self.labels.tolist())}
        if strange := [each for each in seen.tolist() if each not in known]:
            raise InputError(f"labels must hold every class of y; {strange[0]!r:.100} is missing")
        return np.array([known[each] for each in seen.tolist()], dtype=np.int64)

    def to(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances of all labels to those at some places, (labels, places)."""
        apart: NDArray[np.float64]
        if self.distances is not None:
            apart = self.distances[:, places]
        elif self.vectors is not None:
            apart = cdist(self.vectors, self.vectors[places])
        else:
            apart = (np.arange(len(self.labels))[:, None] != places[None, :]).astype(np.float64)
        return apart


def _checked_vectors(vectors: Any, count: int) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = as_real(vectors, "label_vectors").astype(np.float64)
    if rows.ndim != 2 or len(rows) != count or not np.isfinite(rows).all():
        raise InputError(f"label_vectors must be finite, one row for each of {count} labels; received {rows.shape}")
    return rows


def _checked_distances(distances: Any, count: int) -> NDArray[np.float64]:
    apart: NDArray[np.float64] = as_real(distances, "distances").astype(np.float64)
    if apart.shape != (count, count):
        raise InputError(f"distances must have shape ({count}, {count}), as many as labels; received {apart.shape}")
    if not np.isfinite(apart).all():
        raise InputError("distances must be finite; they hold NaN or infinity")
    # Distances that were computed in float32 are negative, unlike or above 0 by rounding.
    near = _ROUNDING * np.abs(apart).max()
    for wrong, what in (
        (apart.min() < -near, "be 0 or more"),
        (np.abs(np.diag(apart)).max() > near, "be 0 from a label to itself"),
        (np.abs(apart - apart.T).max() > near, "be the same both ways: a symmetric matrix"),
    ):
        if wrong:
            raise InputError(f"distances must {what}; these are not")
    _warn_of_squares(apart, near)
    return apart


def _warn_of_squares(apart: NDArray[np.float64], near: float) -> None:
    """Squares, and cosine distances, which are halves of squares, have ways round that are shorter."""
    for middle in range(0, len(apart), -(-len(apart) // _MIDDLES)):
        round_about = apart[:, [middle]] + apart[[middle], :]
        if (apart > round_about + near).any():
            a, b = np.unravel_index(int((apart - round_about).argmax()), apart.shape)
            warnings.warn(
                f"distances are no metric: {apart[a, b]:g} from label {a} to {b}, {round_about[a, b]:g} by way of "
                f"{middle}. They are squared here; if they are squares already, such as 1 - cosine, give their roots",
                stacklevel=7,
            )
            return
