"""Classes by what is said of them: each input goes to the class whose words are nearest."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import normalize

from embedkit.errors import InputError
from embedkit.heads.additive import class_means
from embedkit.heads.scoring import Rows, ScoringClassifier, check_labels, check_positive, products
from embedkit.heads.validation import all_or_nothing, validated
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

    @all_or_nothing
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
        rows, labels = validated(self, X, y, dtype=np.float64)
        check_labels(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self.anchors_ = normalize(class_means(normalize(rows), codes).means)
        return self

    def fit_names(
        self,
        encoder: SupportsEncode,
        classes: Sequence[str] | Mapping[str, Sequence[str]],
        *,
        templates: Sequence[str] = ("a photo of a {}",),
    ) -> Self:
        """Take the mean over sentences that speak of each class.

        Args:
            encoder: What turns the sentences into vectors; `predict` wants vectors of the same space.
            classes: Their names or, of each, words that speak of it.
            templates: Sentences, each with {} where the name or word stands.

        Returns:
            Itself.

        Raises:
            InputError: There is no class, word or template, two classes are equal, or a template has no place for a
                word.
        """
        said, owners = sentences(classes, templates)
        return self.fit(encoder.encode(said), owners)

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        return products(normalize(rows), self.anchors_) / self.temperature


def sentences(
    classes: Sequence[str] | Mapping[str, Sequence[str]], templates: Sequence[str]
) -> tuple[list[str], NDArray[np.str_]]:
    """Each word of each class in each template, and the class of each sentence.

    Args:
        classes: As in `ZeroShotClassifier.fit_names`.
        templates: Likewise.

    Raises:
        InputError: As there.

    Example:
        >>> sentences({"sports": ["ball", "goal"]}, ["a {}"])
        (['a ball', 'a goal'], array(['sports', 'sports'], dtype='<U6'))
    """
    named = classes if isinstance(classes, Mapping) else None
    names, places = _texts("classes", classes if named is None else list(named)), _texts("templates", templates)
    if len(set(names)) < len(names):
        raise InputError(f"classes must differ; received {names!r:.200}")
    if wrong := [each for each in places if "{}" not in each]:
        raise InputError(f"templates must have {{}} where the name stands; received {wrong[0]!r:.100}")
    words = {name: [name] if named is None else _texts(f"words of {name!r:.50}", named[name]) for name in names}
    said = [(place.replace("{}", word), name) for name in names for word in words[name] for place in places]
    return [sentence for sentence, _ in said], np.array([name for _, name in said])


def _texts(name: str, values: Any) -> list[str]:
    several = list(values) if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else []
    if not several or not all(isinstance(each, str) for each in several):
        raise InputError(f"{name} must be one or more texts (str), in a list; received {values!r:.100}")
    return [str(each) for each in several]
