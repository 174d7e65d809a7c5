"""Classes by a few words each, moved to where the documents are."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets

from embedkit.errors import InputError
from embedkit.heads.novel_classes import known_codes
from embedkit.heads.validation import all_or_nothing, validated
from embedkit.heads.zero_shot import ZeroShotClassifier, sentences
from embedkit.ops.centroids import nearest_centroids, spherical_centroids
from embedkit.types import SupportsEncode

_FEWEST = 25


class LabelNameClassifier(ZeroShotClassifier):
    """Nearest class by cosine, where classes begin as a few words and move to unlabelled documents near these.

        w_c = norm( mean over the words v of class c of norm(v) )
        "nearest":  w_c ← norm( mean of norm(d) over the num_docs documents d with the largest cos(d, w_c) )
        "kmeans":   w_c ← norm( mean of norm(d) over the documents nearest to w_c of all ), until these stay the same
        p(c | x) = softmax_c( cos(x, w_c) / temperature )

    Words and sentences lie in different places; among documents a class is told apart better. It needs no label. A
    class that is no cluster, such as "other conditions", gains nothing. Without documents it is `ZeroShotClassifier`.

    Args:
        refine: How classes move; None leaves them at their words.
        num_docs: For "nearest", how many documents a class is the mean of, 1 or more. None is half of an equal share
            of the documents, but at least 25 and at most an equal share. With all documents all classes are equal.
        min_similarity: For "nearest", the cosine that documents must exceed; the nearest one always counts.
        temperature: What cosines are divided by, above 0: how sure probabilities are, not which class wins.

    Attributes:
        classes_: (classes,), sorted.
        anchors_: w, (classes, width), each of length 1.

    Example:
        >>> words, documents = [[1.0, 0.0], [0.0, 1.0]], [[5.0, 4.0], [4.0, 5.0], [1.0, 9.0], [2.0, 9.0]]
        >>> y = ["calm", "loud", *[-1] * 4]
        >>> classifier = LabelNameClassifier(refine="kmeans").fit(words + documents, np.array(y, dtype=object))
        >>> ZeroShotClassifier().fit(words, y[:2]).predict(documents).tolist()
        ['calm', 'loud', 'loud', 'loud']
        >>> classifier.predict(documents).tolist()
        ['calm', 'calm', 'loud', 'loud']

    Reference:
        T. Schopf, D. Braun, F. Matthes, "Evaluating Unsupervised Text Classification: Zero-shot and Similarity-based
        Approaches", NLPIR 2022, section 3.1 (Lbl2TransformerVec).

    Deviations:
        The authors' code takes the one document nearest to the words unless told otherwise; the default is more. Rows
        are brought to length 1 before means are taken. "kmeans" is not in the paper.
    """

    def __init__(
        self,
        *,
        refine: Literal["nearest", "kmeans"] | None = "nearest",
        num_docs: int | None = None,
        min_similarity: float = -1.0,
        temperature: float = 0.01,
    ) -> None:
        super().__init__(temperature=temperature)
        self.refine = refine
        self.num_docs = num_docs
        self.min_similarity = min_similarity

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Take the mean of each class's words, and move it.

        Args:
            X: (n, width), vectors of words and of documents.
            y: The class that each row speaks of, −1 for a document that has none, (n,): integers, or an array of
                objects that are texts and −1.

        Returns:
            Itself.

        Raises:
            InputError: An argument is out of range, y is not that, or no row speaks of a class.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        self._check_arguments()
        rows, labels = validated(self, X, y, dtype=(np.float64, np.float32))
        if labels.dtype.kind == "f":
            check_classification_targets(labels)
        classes, codes = known_codes(labels, len(rows))
        named = codes >= 0
        if not len(classes):
            raise InputError("some rows must speak of a class; y is -1 everywhere: name classes and give their words")
        words = ZeroShotClassifier(temperature=self.temperature).fit(rows[named], classes[codes[named]])
        self.classes_, self.anchors_ = words.classes_, words.anchors_
        if self.refine is not None and not named.all():
            self.anchors_ = self._moved(normalize(rows[~named]))
        return self

    def fit_names(
        self,
        encoder: SupportsEncode,
        classes: Sequence[str] | Mapping[str, Sequence[str]],
        documents: Sequence[Any] = (),
        *,
        templates: Sequence[str] = ("{}",),
    ) -> Self:
        """Take the mean over words of each class, and move it to documents.

        Args:
            encoder: What turns words and documents into vectors; `predict` wants vectors of the same space.
            classes: Their names or, of each, words that speak of it.
            documents: Inputs of the encoder without a class.
            templates: Sentences, each with {} where the word stands.

        Returns:
            Itself.

        Raises:
            InputError: There is no class, word or template, two classes are equal, or a template has no place for a
                word.
        """
        said, owners = sentences(classes, templates)
        vectors = np.asarray(encoder.encode(said))
        if not len(documents):
            return self.fit(vectors, owners)
        unnamed = np.full(len(documents), -1, dtype=object)
        others = np.asarray(encoder.encode(documents))
        return self.fit(np.concatenate([vectors, others]), np.concatenate([owners.astype(object), unnamed]))

    def _moved(self, documents: NDArray[Any]) -> NDArray[np.float64]:
        if self.refine == "kmeans":
            return np.asarray(spherical_centroids(self.anchors_, documents), dtype=np.float64)
        share = max(len(documents) // len(self.classes_), 1)
        number = min(max(_FEWEST, share // 2), share) if self.num_docs is None else self.num_docs
        moved = nearest_centroids(self.anchors_, documents, max_num_docs=number, min_similarity=self.min_similarity)
        return np.asarray(normalize(moved.astype(np.float64)))

    def _check_arguments(self) -> None:
        if self.refine not in ("nearest", "kmeans", None):
            raise InputError(f'refine must be "nearest", "kmeans" or None; received {self.refine!r:.100}')
        number = self.num_docs
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise InputError(f"num_docs must be a count from 1, or None; received {number!r:.100}")
        least = self.min_similarity
        if isinstance(least, bool) or not isinstance(least, int | float) or not -1 <= least <= 1:
            raise InputError(f"min_similarity must be -1 … 1; received {least!r:.100}")
