"""One classifier above many: what a classifier of each view says is what the next one learns from."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.svm import SVC
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.heads.scoring import ROWS
from embedkit.heads.stored import StoredHead
from embedkit.heads.validation import all_or_nothing, validated


def _meta_has(name: str) -> Callable[[Any], bool]:
    return lambda head: hasattr(head.meta_ if hasattr(head, "meta_") else head._new_meta(), name)


class FunnellingClassifier(ClassifierMixin, StoredHead):  # type: ignore[misc]  # sklearn is untyped
    """Classes from several views of a row, such as words of its language and its vector, through their posteriors.

        p_v(x) = norm( posterior that the estimator of view v gives row x )
        z(x) = mean of p_v(x) over the views that x has                          aggregate="mean"
        z(x) = (p_1(x), …, p_V(x)), zeros for a view that x has not              aggregate="concat"
        class of x = what meta, fitted on z of all rows, makes of z(x)

    X is one matrix, dense or sparse, whose columns are cut into views, and a row has a view where any of its columns is
    not zero. So texts of several languages are one matrix: TF-IDF of each language in columns of its own, which are
    zero for all other rows, and beside them sentence vectors, which no row lacks. Nothing has to say which language a
    row is in. A class that a view never saw has 0 there, a row without any view the share of each class, and an
    estimator of a view that no row of `fit` has is left out.

    Args:
        estimator: What is fitted on each view, with `predict_proba`; None is a `LogisticRegression`, whose penalty
            holds a view the less the larger its numbers are. Posteriors that are too sure harm meta more than they do
            the classes they name: rather too strong a penalty than too weak a one.
        meta: What is fitted on z; None is a `StandardScaler` and an `SVC` with its RBF kernel. The head has
            `predict_proba` where this has it, and an `SVC` has not.
        views: How many columns each view has, in order; None is one view of all columns.
        cv: How many parts, 2 or more, the rows are dealt into, class by class, so that z of each row in `fit` is from
            estimators that have not seen it, in any view. None takes it from those that have (the paper's TAT): faster
            by a factor of `cv` + 1, and meta then trusts posteriors that are surer than any it will meet.
        aggregate: "mean" lets languages learn from each other, for their rows look alike to meta. "concat" lets it
            learn which view to trust; zeros for a view that is absent say that none of the classes has anything for it
            there, which no posterior ever says.
        random_state: Of the parts.

    Attributes:
        classes_: (classes,), sorted.
        priors_: Share of each class in `fit`, (classes,).
        estimators_: One for each view, fitted on the places in `classes_` of all rows that have it; None if none has.
        meta_: What was fitted on z.

    Example:
        >>> words = np.array([[4, 0], [3, 1], [2, 1], [0, 4], [1, 3], [1, 2]])
        >>> X = np.kron(np.eye(2), words)  # six rows of one language, and six of another in columns of its own
        >>> head = FunnellingClassifier(views=(2, 2), cv=3, random_state=0).fit(X, ["a", "a", "a", "b", "b", "b"] * 2)
        >>> head.predict([[5, 0, 0, 0], [0, 0, 0, 5]]).tolist()
        ['a', 'b']

    Reference:
        A. Esuli, A. Moreo, F. Sebastiani, "Funnelling: A New Ensemble Method for Heterogeneous Transfer Learning and
        its Application to Cross-Lingual Text Classification", TOIS 2019 (KFCV, TAT); A. Moreo, A. Pedrotti,
        F. Sebastiani, "Generalized Funnelling: Ensemble Learning and Heterogeneous Document Embeddings for
        Cross-Lingual Text Classification", TOIS 2022.

    Deviations:
        One class for each row; the papers' data have several. Logistic regression, whose posteriors are calibrated as
        they come, for their calibrated SVM. In "concat" each language has a place of its own, as any view has.
    """

    def __init__(
        self,
        *,
        estimator: Any = None,
        meta: Any = None,
        views: Sequence[int] | None = None,
        cv: int | None = 5,
        aggregate: Literal["mean", "concat"] = "mean",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.meta = meta
        self.views = views
        self.cv = cv
        self.aggregate = aggregate
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Fit an estimator on each view, and meta on what they say.

        Args:
            X: (n, width), dense or sparse.
            y: The class of each row, (n,).

        Returns:
            Itself.

        Raises:
            InputError: An argument is out of range, `views` do not add up to the width, or there is one class alone.
            ValueError: scikit-learn's, where X and y are no finite numbers and classes of equal length.
        """
        rows, labels = validated(self, X, y, accept_sparse="csr", dtype=np.float64)
        self._check(rows.shape[1])
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y must hold two classes or more; received one class, {self.classes_[0]}")
        self.priors_ = np.bincount(codes) / len(codes)
        self.estimators_ = self._fitted(rows, codes)
        self.meta_ = self._new_meta().fit(self._seen_or_unseen(rows, codes), codes)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each row, (n,).

        Args:
            X: (n, width), dense or sparse.

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        found: NDArray[Any] = self.classes_[self._answer("predict", X)]
        return found

    @available_if(_meta_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Meta's scores, (n, classes); of two classes (n,). There if meta has them.

        Args:
            X: (n, width), dense or sparse.

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        return self._answer("decision_function", X)

    @available_if(_meta_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Meta's probabilities, (n, classes). There if meta has them.

        Args:
            X: (n, width), dense or sparse.

        Raises:
            NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        return self._answer("predict_proba", X)

    def _answer(self, method: str, X: Any) -> NDArray[Any]:
        """What meta says, in blocks of rows, so that memory is bounded."""
        rows = validated(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        ask = getattr(self.meta_, method)
        return np.concatenate(
            [ask(self._posteriors(self.estimators_, rows[part])) for part in gen_batches(rows.shape[0], ROWS)]
        )

    def _seen_or_unseen(self, rows: Any, codes: NDArray[np.intp]) -> NDArray[np.float64]:
        """What meta is fitted on: z from estimators that have not seen the row or, without `cv`, that have."""
        if self.cv is None:
            return self._posteriors(self.estimators_, rows)
        folds = _dealt(codes, self.cv, self.random_state)
        found = np.empty((len(codes), self._width_of_z()))
        for fold in np.unique(folds):
            held = folds == fold
            found[held] = self._posteriors(self._fitted(rows[~held], codes[~held]), rows[held])
        return found

    def _fitted(self, rows: Any, codes: NDArray[np.intp]) -> list[Any]:
        """An estimator for each view; None where no row has it."""
        return [self._fitted_one(block[has], codes[has]) if has.any() else None for block, has in self._cut(rows)]

    def _fitted_one(self, block: Any, codes: NDArray[np.intp]) -> Any:
        if (codes == codes[0]).all():  # of one class scikit-learn's estimators learn nothing
            return DummyClassifier().fit(block, codes)
        return self._new_estimator().fit(block, codes)

    def _posteriors(self, estimators: list[Any], rows: Any) -> NDArray[np.float64]:
        """Z of each row, (n, classes) or (n, views · classes)."""
        said = np.zeros((rows.shape[0], len(estimators), len(self.classes_)))
        counted = np.zeros(said.shape[:2], dtype=bool)
        for view, (estimator, (block, has)) in enumerate(zip(estimators, self._cut(rows), strict=True)):
            if estimator is not None and has.any():
                posteriors = np.zeros((int(has.sum()), len(self.classes_)))
                posteriors[:, estimator.classes_] = estimator.predict_proba(block[has])
                said[has, view], counted[has, view] = normalize(posteriors), True
        without = ~counted.any(axis=1)
        said[without], counted[without] = normalize(self.priors_[None]), True
        if self.aggregate == "concat":
            return said.reshape(len(said), -1)
        found: NDArray[np.float64] = said.sum(axis=1) / counted.sum(axis=1, keepdims=True)
        return found

    def _cut(self, rows: Any) -> Iterable[tuple[Any, NDArray[np.bool_]]]:
        """The columns of each view, and which rows have it."""
        for start, stop in pairwise(np.cumsum([0, *(self.views or [rows.shape[1]])])):
            block = rows[:, start:stop]
            yield block, np.asarray((block != 0).sum(axis=1)).ravel() > 0

    def _width_of_z(self) -> int:
        return len(self.classes_) * (len(self.estimators_) if self.aggregate == "concat" else 1)

    def _new_estimator(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)

    def _new_meta(self) -> Any:
        # With ties broken the largest score is the class that is predicted.
        return make_pipeline(StandardScaler(), SVC(break_ties=True)) if self.meta is None else clone(self.meta)

    def _check(self, width: int) -> None:
        if self.aggregate not in {"mean", "concat"}:
            raise InputError(f"aggregate must be 'mean' or 'concat'; received {self.aggregate!r:.100}")
        if self.cv is not None and not (_is_count(self.cv) and self.cv > 1):
            raise InputError(f"cv must be a whole number from 2, or None; received {self.cv!r:.100}")
        if not hasattr(self._new_estimator(), "predict_proba"):
            raise InputError(f"estimator must have predict_proba; received {self.estimator!r:.100}: calibrate it")
        if self.views is None:
            return
        counts = list(self.views) if isinstance(self.views, Sequence | np.ndarray) else []
        if not counts or not all(map(_is_count, counts)) or sum(counts) != width:
            raise InputError(
                f"views must be numbers of columns from 1 that add up to the {width} of X; received {self.views!r:.100}"
            )

    def __sklearn_tags__(self) -> Any:
        """It takes sparse matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _is_count(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0


def _dealt(codes: NDArray[np.intp], parts: int, random_state: Any) -> NDArray[np.intp]:
    """A part for each row: those of a class go round the parts one by one, so no class is too small."""
    drawn = check_random_state(random_state).permutation(len(codes))
    found = np.empty(len(codes), dtype=np.intp)
    found[drawn[np.argsort(codes[drawn], kind="stable")]] = np.arange(len(codes)) % parts
    return found
