"""Classes as subspaces: the directions their rows lie along."""

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from sklearn.preprocessing import normalize
from sklearn.utils import gen_batches

from embedkit.errors import InputError
from embedkit.heads.growing import GrowingClassifier
from embedkit.heads.scoring import Rows, check_positive, products
from embedkit.heads.validation import all_or_nothing

_VECTORS = 4096


class SubspaceClassifier(GrowingClassifier):
    """The class whose subspace is nearest to the direction of a row (GCR without training); new classes at any time.

        bases_c = first num_components right singular vectors of the rows x / ‖x‖ of class c, which are not centred
        score_c(x) = ‖bases_c x‖ / ‖x‖ / temperature,   p(c | x) = softmax_c(score_c)

    A class that has several meanings keeps each of them where a mean would keep what lies between. It takes some
    dozens of rows a class to pay. The score is the cosine of the angle between x and the subspace, so x and −x score
    alike: not for centred vectors whose sign tells classes apart.

    Args:
        num_components: k, 1 or more. A class has no more than it has different rows, nor than X has columns.
        temperature: What scores are divided by, above 0: how sure probabilities are, not which class wins.

    Attributes:
        classes_: (classes,), sorted.
        counts_: How many rows each class was made of, (classes,).
        bases_: Orthonormal rows, then zeros for what a class has fewer, (classes, k, width), as precise as X.

    Example:
        >>> classifier = SubspaceClassifier(num_components=2)
        >>> classifier = classifier.fit([[9.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]], ["floor", "floor", "up"])
        >>> classifier.predict([[5.0, -5.0, 4.0], [1.0, 1.0, 4.0]]).tolist()
        ['floor', 'up']

    Reference:
        S. Zhang et al., "Grassmann Class Representation in Deep Learning", arXiv 2208.13458, 2022, for the score; the
        subspaces are those of CLAFIC: S. Watanabe et al., "Evaluation and Selection of Variables in Pattern
        Recognition", Computer and Information Sciences II, 1967.

    Deviations:
        The authors train the subspaces with the network, on the Grassmann manifold; here they are the closed form
        that keeps most of each class's squared length.
    """

    _per_class: ClassVar[tuple[str, ...]] = ("counts_", "bases_")

    def __init__(self, *, num_components: int = 8, temperature: float = 1 / 25) -> None:
        self.num_components = num_components
        self.temperature = temperature

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from these rows alone; what was learnt before is forgotten.

        Args:
            X: (n, width).
            y: The class of each, (n,).

        Returns:
            Itself.

        Raises:
            InputError: An argument of the head is wrong.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        self._forget()
        return self.partial_fit(X, y)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Add classes; those that are there keep their scores to the last bit.

        Args:
            X: (n, width), all rows of each new class.
            y: The class of each, (n,); none that had other rows before. The very same rows again change nothing.
            classes: Classes to come, for those who know them; they cannot win before a row of theirs was seen.

        Returns:
            Itself.

        Raises:
            InputError: A class had other rows before, labels were numbers before and are texts now, or an argument of
                the head is wrong.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length, or X has
                another width than before.
        """
        rows, labels = self._validated(X, y)
        names, codes = np.unique(labels, return_inverse=True)
        members = np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])
        made = {
            name: _Subspace(len(each), _basis(np.asarray(rows[each], np.float64), self.num_components))
            for name, each in zip(names.tolist(), members, strict=True)
        }
        for place, name in enumerate(self.classes_.tolist() if hasattr(self, "classes_") else ()):
            if name not in made or not self.counts_[place]:
                continue
            if not made.pop(name).is_of(self.counts_[place], self.bases_[place]):
                raise InputError(
                    f"partial_fit must bring all rows of new classes: a subspace is made of all rows of its class; "
                    f"received other rows of {name!r}, which is known: fit anew with all rows of all classes"
                )
        self._placed(rows, labels, classes)
        for name, (count, basis) in made.items():
            place = np.searchsorted(self.classes_, name)
            self.counts_[place] = count
            self.bases_[place, : len(basis)] = basis
        return self

    def _check_arguments(self) -> None:
        check_positive("temperature", self.temperature)
        k = self.num_components
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"num_components must be 1 or more; received {k!r:.100}")

    def _start(self, rows: Rows) -> None:
        width = rows.shape[1]
        self.bases_ = np.zeros((0, min(self.num_components, width), width), rows.dtype)

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        units = normalize(np.asarray(rows, dtype=np.float64))
        classes, k, width = self.bases_.shape
        lengths = np.empty((len(rows), classes))
        for part in gen_batches(classes, max(1, _VECTORS // k)):
            along = products(units, self.bases_[part].reshape(-1, width))
            lengths[:, part] = np.linalg.norm(along.reshape(len(rows), -1, k), axis=2)
        lengths[:, self.counts_ == 0] = -np.inf
        return lengths / self.temperature

    def __sklearn_tags__(self) -> Any:
        """Centred data, on which scikit-learn's checks want good scores, are not for it."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


class _Subspace(NamedTuple):
    """What a class is made of."""

    rows: int
    basis: NDArray[np.float64]

    def is_of(self, count: float, basis: NDArray[Any]) -> bool:
        """Whether another one, with zeros for what it has fewer, is the same."""
        same = self.rows == count and len(self.basis) == np.count_nonzero(basis.any(axis=1))
        return bool(same and np.allclose(np.linalg.norm(basis @ self.basis.T, axis=0), 1, atol=1e-6))


def _basis(rows: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The first k right singular vectors of the rows at length 1, as rows; fewer where the rest is rounding.

    By eigenvectors of the smaller of the two matrices of products, which takes a fraction of the time that the
    singular values themselves take.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    # By hand: where rows are few, the checks of scikit-learn's `normalize` take as long as all the rest.
    units = rows / np.where(lengths, lengths, 1)
    wide = len(units) <= units.shape[1]
    gram = units @ units.T if wide else units.T @ units
    size = len(gram)
    values, vectors = eigh(gram, subset_by_index=[max(0, size - k), size - 1])
    largest_first = vectors[:, values > values[-1] * max(units.shape) * np.finfo(np.float64).eps][:, ::-1]
    # As exact as its eigenvalue is large, a vector of the row space is brought to a right angle with those before it.
    basis: NDArray[np.float64] = np.linalg.qr(units.T @ largest_first)[0].T if wide else largest_first.T
    return basis
