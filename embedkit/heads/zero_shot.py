"""Classes by what is said of them: each input goes to the class whose words are nearest."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from embedkit.errors import InputError
from embedkit.heads.additive import class_sums
from embedkit.heads.scoring import Rows, ScoringClassifier, check_positive, products
from embedkit.types import SupportsEncode


class ZeroShotClassifier(ScoringClassifier):
    """Nearest class by cosine, where a class is the mean of a few vectors, such as those of its name in sentences.

        w_c = norm( mean over the vectors v of class c of norm(v) )
        p(c | x) = softmax_c( cos(x, w_c) / temperature )

    Fitted on vectors of texts it tells vectors of pictures that lie in the same space: no labelled picture is needed.
    Fitted on vectors of the inputs' own kind it is `PrototypeClassifier`.

    Args:
        temperature: What cosines are divided by, above 0: how sure probabilities are, not which class wins.

    Attributes:
        classes_: (classes,).
        anchors_: w, (classes, width), each of length 1.

    Example:
        >>> classifier = ZeroShotClassifier(temperature=1.0).fit([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], ["a", "a", "b"])
        >>> classifier.predict([[3.0, 1.0]]).tolist(), classifier.predict_proba([[1.0, 1.0]]).tolist()
        (['a'], [[0.5, 0.5]])

    Reference:
        A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
        section 3.1.4, for the mean over templates.

    Deviations:
        None.
    """

    def __init__(self, *, temperature: float = 0.01) -> None:
        self.temperature = temperature

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take the mean of each class.

        Args:
            X: (n, width), such as vectors of prompts.
            y: The class of each, (n,).

        Returns:
            Itself.

        Raises:
            InputError: `temperature` is not above 0.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        check_positive("temperature", self.temperature)
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self.anchors_ = normalize(class_sums(normalize(rows), codes, np.ones(len(codes)), len(self.classes_)))
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

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        return products(normalize(rows), self.anchors_) / self.temperature


def _texts(name: str, values: Any) -> list[str]:
    several = list(values) if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else []
    if not several or not all(isinstance(each, str) for each in several):
        raise InputError(f"{name} must be one or more texts (str), in a list; received {values!r:.100}")
    return [str(each) for each in several]
