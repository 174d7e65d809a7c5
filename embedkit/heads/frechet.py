"""A classifier that names labels it has no example of, by how far labels lie from each other."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.label_metrics import LabelMetric
from embedkit.heads.scoring import Rows, ScoringClassifier, check_positive
from embedkit.heads.validation import all_or_nothing, validated

_EXACT = 1e-9


class FrechetClassifier(ScoringClassifier):
    """The label with the least expected squared distance, of all labels, whether there are examples of them or not.

        predict(x) = argmin over y of labels of  Σ_c P(c | x) distance(y, c)²,   c: the classes seen in `fit`

    A classifier that knows 0, 2 and 5 stars and wavers between 0 and 2 says 1. It suits labels with an order or a tree;
    where all lie about as far from each other it says what the estimator says. Probabilities that are too sure keep it
    from wavering: choose `temperature` on examples that were held out. Such of the classes seen alone ask for too low a
    one where these are few and far apart, as the two ends of a scale are.

    Args:
        estimator: Learns the classes seen, and has `predict_proba`; None is LogisticRegression. One that is fitted
            already comes as scikit-learn's FrozenEstimator.
        labels: All labels, in any order; None for the classes seen, sorted.
        distances: Between labels, (labels, labels), in the order of `labels`. THE DISTANCES, NOT THEIR SQUARES: they
            are squared here. 1 − cosine is a square already; its root is a distance. See `tree_distances`.
        label_vectors: Instead of `distances`, a vector of each label, (labels, width), for their Euclidean distance;
            of numbers, themselves. With neither, different labels lie 1 apart and the most probable class wins.
        temperature: Above 0, divides the logarithms of the estimator's probabilities: above 1 they are less sure.

    Attributes:
        classes_: All labels, sorted, (labels,).
        estimator_: The fitted estimator.
        seen_: Where its classes stand in `classes_`, (classes,).
        squared_distances_: Of all labels to the classes seen, (labels, classes).

    Example:
        >>> stars = [0, 1, 2, 3, 4, 5]
        >>> head = FrechetClassifier(labels=stars, label_vectors=[[each] for each in stars])
        >>> head = head.fit([[0.0], [0.1], [0.9], [1.0]], [0, 0, 5, 5])
        >>> head.predict([[-9.0], [0.4], [0.6], [9.0]]).tolist(), head.locus().tolist()
        ([0, 2, 3, 5], [0, 1, 2, 3, 4, 5])

    Reference:
        N. Roberts et al., "Geometry-Aware Adaptation for Pretrained Models", NeurIPS 2023 (Loki).

    Deviations:
        The temperature; label vectors. The locus is computed by linear programs, for any metric.
    """

    def __init__(
        self,
        *,
        estimator: Any = None,
        labels: ArrayLike | None = None,
        distances: ArrayLike | None = None,
        label_vectors: ArrayLike | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.estimator = estimator
        self.labels = labels
        self.distances = distances
        self.label_vectors = label_vectors
        self.temperature = temperature

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the estimator on the classes seen.

        Args:
            X: (n, width).
            y: The class of each row, one of `labels`, (n,).

        Returns:
            Itself.

        Raises:
            InputError: `temperature` is not above 0; distances are not square, not symmetric, negative, not 0 on the
                diagonal, not finite, or not as many as labels; a class is no label; the estimator has no probabilities.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        check_positive("temperature", self.temperature)
        rows, targets = validated(self, X, y)
        check_classification_targets(targets)
        metric = self._metric(np.unique(targets))
        metric.places(np.unique(targets))  # before the estimator takes its time
        estimator = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        if not hasattr(estimator, "predict_proba"):
            raise InputError(f"estimator must have predict_proba; {type(estimator).__name__} has none")
        self.estimator_ = estimator.fit(rows, targets)
        self.seen_ = metric.places(np.asarray(self.estimator_.classes_))
        self.classes_ = metric.labels
        self.squared_distances_ = np.square(metric.to(self.seen_))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """What the estimator holds probable, with the temperature, (n, labels); 0 for labels that it never saw.

        `predict` does not say the most probable of them, but the one that is least wrong.

        Args:
            X: (n, width).

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        known = self._probabilities(validated(self, X, reset=False))
        found = np.zeros((len(known), len(self.classes_)))
        found[:, self.seen_] = known
        return found

    def locus(self) -> NDArray[Any]:
        """The labels that can be said: those with the least expected squared distance under some probabilities.

        Exact, by a linear program for each label that was not seen: a second for 150 labels, half a minute for 1,000.
        Labels that only ever tie with others count, though `predict` says the first of these.

        Returns:
            Some of `classes_`, sorted.

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        costs = self.squared_distances_ / (self.squared_distances_.max() or 1.0)
        labels, classes = costs.shape
        reached = np.isin(np.arange(labels), self.seen_)
        for label in range(labels):
            if reached[label]:
                continue
            # The least, over probabilities p, of how much the label costs above the cheapest one.
            result = linprog(
                np.r_[np.zeros(classes), 1.0],
                A_ub=np.c_[costs[label] - costs, -np.ones(labels)],
                b_ub=np.zeros(labels),
                A_eq=[[1.0] * classes + [0.0]],
                b_eq=[1.0],
                options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
            )
            expected = costs @ result.x[:classes]
            reached |= expected <= expected.min() + _EXACT
        some: NDArray[Any] = self.classes_[reached]
        return some

    def next_label(self) -> Any:
        """The label to find examples of next: the one farthest from all that can be said already.

        Returns:
            One of `classes_`, of several as far the first; None where every label can be said.

        Raises:
            NotFittedError: `fit` was not called.
        """
        reached = self.locus()
        if len(reached) == len(self.classes_):
            return None
        metric = self._metric(self.classes_)
        return self.classes_[metric.to(metric.places(reached)).min(axis=1).argmax()]

    def _metric(self, seen: NDArray[Any]) -> LabelMetric:
        return LabelMetric.of(seen if self.labels is None else self.labels, self.distances, self.label_vectors)

    def _probabilities(self, rows: Rows) -> NDArray[np.float64]:
        found = np.asarray(self.estimator_.predict_proba(rows), dtype=np.float64)
        found = (found / found.max(axis=1, keepdims=True)) ** (1 / self.temperature)
        shares: NDArray[np.float64] = found / found.sum(axis=1, keepdims=True)
        return shares

    def _scores(self, rows: Rows) -> NDArray[np.float64]:
        """Minus the expected squared distance."""
        scores: NDArray[np.float64] = -(self._probabilities(rows) @ self.squared_distances_.T)
        return scores
