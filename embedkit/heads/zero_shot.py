"""Classes by what is said of them: each input goes to the class whose words are nearest."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from embedkit.errors import InputError
from embedkit.heads.stored import StoredHead
from embedkit.types import SupportsEncode


class ZeroShotClassifier(ClassifierMixin, StoredHead):  # type: ignore[misc]  # sklearn is untyped
    """Nearest class by cosine, where a class is the mean of a few vectors, such as those of its name in sentences.

        w_c = norm( mean over the vectors v of class c of norm(v) )
        p(c | x) = softmax_c( scale · cos(x, w_c) )

    Fitted on vectors of texts it tells vectors of pictures that lie in the same space: no labelled picture is needed.
    Fitted on vectors of the inputs' own kind it is the nearest class mean.

    Args:
        scale: What cosines are multiplied by, above 0: how sure the probabilities are, not which class wins.

    Attributes:
        classes_: (classes,).
        anchors_: w, (classes, width), each of length 1.

    Example:
        >>> classifier = ZeroShotClassifier(scale=1.0).fit([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], ["a", "a", "b"])
        >>> classifier.predict([[3.0, 1.0]]).tolist(), classifier.predict_proba([[1.0, 1.0]]).tolist()
        (['a'], [[0.5, 0.5]])

    Reference:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
        section 3.1.4, for the mean over templates.

    Deviations:
        None.
    """

    def __init__(self, *, scale: float = 100.0) -> None:
        self.scale = scale

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take the mean of each class.

        Args:
            X: (n, width), such as vectors of prompts.
            y: The class of each, (n,).

        Returns:
            Itself.

        Raises:
            InputError: `scale` is not above 0.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        if isinstance(self.scale, bool) or not isinstance(self.scale, int | float) or not 0 < self.scale < np.inf:
            raise InputError(f"scale must be a number above 0; received {self.scale!r}")
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        sums = np.zeros((len(self.classes_), rows.shape[1]))
        np.add.at(sums, codes, normalize(rows))
        self.anchors_ = normalize(sums)
        return self

    def fit_names(
        self, encoder: SupportsEncode, classes: Sequence[str], *, templates: Sequence[str] = ("a photo of a {}",)
    ) -> Self:
        """Take the mean over sentences that speak of each class.

        Args:
            encoder: What turns the sentences into vectors; `predict` wants vectors of the same space.
            classes: Their names.
            templates: Sentences, each with {} where the name stands.

        Returns:
            Itself.

        Raises:
            InputError: There is no class or no template, two classes are equal, or a template has no place for a name.
        """
        names, sentences = _texts("classes", classes), _texts("templates", templates)
        if len(set(names)) < len(names):
            raise InputError(f"classes must differ; received {names!r:.200}")
        if wrong := [each for each in sentences if "{}" not in each]:
            raise InputError(f"templates must have {{}} where the name stands; received {wrong[0]!r:.100}")
        said = [sentence.replace("{}", name) for name in names for sentence in sentences]
        return self.fit(encoder.encode(said), np.repeat(names, len(sentences)))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Scale · cosine to each class, (n, classes); of two classes how much nearer the second is, (n,).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        scores = self._scores(X)
        found: NDArray[np.float64] = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
        return found

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each row, (n,).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        nearest = self._scores(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[nearest]
        return found

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each class, (n, classes).

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        found: NDArray[np.float64] = softmax(self._scores(X), axis=1)
        return found

    def _scores(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        scores: NDArray[np.float64] = self.scale * (normalize(rows) @ self.anchors_.T)
        return scores


def _texts(name: str, values: Any) -> list[str]:
    several = list(values) if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else []
    if not several or not all(isinstance(each, str) for each in several):
        raise InputError(f"{name} must be one or more texts (str), in a list; received {values!r:.100}")
    return [str(each) for each in several]
