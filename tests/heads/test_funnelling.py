import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.svm import SVC, LinearSVC

from embedkit.errors import InputError
from embedkit.heads import FunnellingClassifier


class AsItIs(ClassifierMixin, BaseEstimator):
    """A meta that shows the z it is given."""

    def fit(self, X, y):
        self.classes_, self.z_ = np.unique(y), X
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return self.classes_[X[:, : len(self.classes_)].argmax(axis=1)]


class Spy(LogisticRegression):
    """Its first column is the row's number, which it does not learn from but remembers."""

    log = []  # noqa: RUF012 (clones share it)

    def fit(self, X, y):
        self.seen_ = frozenset(X[:, 0])
        return super().fit(X[:, 1:], y)

    def predict_proba(self, X):
        self.log.append((self.seen_, frozenset(X[:, 0])))
        return super().predict_proba(X[:, 1:])


LANGUAGES = (5, 4, 3)


def several(n=48, classes=3, seed=0):
    """Rows of two languages, and a view of three columns that all have but every eighth."""
    draw = np.random.default_rng(seed)
    y = draw.integers(classes, size=n)
    X = draw.normal(size=(n, sum(LANGUAGES))) + np.eye(classes)[y][:, np.arange(sum(LANGUAGES)) % classes]
    X[: n // 2, 5:9], X[n // 2 :, :5], X[::8, 9:] = 0, 0, 0
    return X, y


def head(**options):
    return FunnellingClassifier(**{"views": LANGUAGES, "cv": 2, "random_state": 0, **options})


@pytest.mark.parametrize("aggregate", ["mean", "concat"])
def test_naive_loops_give_the_same(aggregate):
    X, y = several()
    starts = np.cumsum([0, *LANGUAGES])
    z = np.zeros((len(X), len(LANGUAGES), 3))
    has = np.zeros((len(X), len(LANGUAGES)), dtype=bool)
    for view in range(len(LANGUAGES)):
        block = X[:, starts[view] : starts[view + 1]]
        has[:, view] = [any(value != 0 for value in row) for row in block]
        model = LogisticRegression(max_iter=1000).fit(block[has[:, view]], y[has[:, view]])
        for row in np.flatnonzero(has[:, view]):
            posterior = model.predict_proba(block[[row]])[0]
            z[row, view] = posterior / np.sqrt((posterior**2).sum())
    joined = z.reshape(len(X), -1) if aggregate == "concat" else np.stack([z[i, has[i]].mean(0) for i in range(len(X))])
    meta = make_pipeline(StandardScaler(), SVC(break_ties=True)).fit(joined, y)
    found = head(aggregate=aggregate, cv=None).fit(X, y)
    np.testing.assert_allclose(found.decision_function(X), meta.decision_function(joined), atol=1e-8)
    np.testing.assert_array_equal(found.predict(X), meta.predict(joined))


def test_by_hand():
    """Shares of a and b are (2, 1) / 3 in one view and (1, 2) / 3 in the other, and lengths are brought to 1."""
    X = np.array([[1, 0], [1, 1], [1, 1], [0, 1], [0, 0]])
    fitted = FunnellingClassifier(estimator=DummyClassifier(), meta=AsItIs(), views=(1, 1), cv=None)
    fitted.fit(X, ["a", "a", "b", "b", "b"])
    one, other = np.array([2, 1]) / 5**0.5, np.array([1, 2]) / 5**0.5
    expected = [one, (one + other) / 2, other, np.array([2, 3]) / 13**0.5]
    np.testing.assert_allclose(fitted.predict_proba([[9, 0], [9, 9], [0, 9], [0, 0]]), expected)
    fitted.set_params(aggregate="concat").fit(X, ["a", "a", "b", "b", "b"])
    np.testing.assert_allclose(fitted.predict_proba([[9, 0], [9, 9]]), [[*one, 0, 0], [*one, *other]])


@pytest.mark.parametrize("cv", [None, 3])
def test_one_view_under_a_meta_that_changes_nothing_is_the_classifier_itself(cv):
    X, y = several()
    base = LogisticRegression(max_iter=1000).fit(X, y)
    alone = FunnellingClassifier(meta=AsItIs(), cv=cv).fit(X, y)
    np.testing.assert_array_equal(alone.predict(X), base.predict(X))
    np.testing.assert_allclose(normalize(alone.predict_proba(X), norm="l1"), base.predict_proba(X), atol=1e-12)


def test_no_row_is_scored_for_meta_by_what_saw_it_in_any_view():
    X, y = several()
    numbered = np.column_stack([np.arange(1, len(X) + 1), X[:, :5], np.arange(1, len(X) + 1), X[:, 5:]])
    numbered[len(X) // 2 :, 0] = 0
    options = {"estimator": Spy(), "meta": AsItIs(), "views": (6, 8), "random_state": 0}
    Spy.log.clear()
    unseen = FunnellingClassifier(**options, cv=4).fit(numbered, y)
    assert len(Spy.log) == 4 * 2
    for (seen, scored), (seen_too, scored_too) in zip(Spy.log[::2], Spy.log[1::2], strict=True):
        assert not (seen | seen_too) & (scored | scored_too)
        assert seen_too | scored_too == set(range(1, len(X) + 1))
        assert len(scored_too) == len(X) / 4
    seen, scored = Spy.log[1]  # the second view of the first part: z is what an estimator of the rest says
    rest, held = np.array(sorted(seen), dtype=int) - 1, np.array(sorted(scored), dtype=int) - 1
    held = held[held >= len(X) // 2]
    said = LogisticRegression().fit(numbered[rest, 7:], y[rest]).predict_proba(numbered[held, 7:])
    np.testing.assert_allclose(unseen.meta_.z_[held], normalize(said), atol=1e-6)
    Spy.log.clear()
    FunnellingClassifier(**options, cv=None).fit(numbered, y)
    assert all(scored <= seen for seen, scored in Spy.log)


def test_parts_hold_alike_much_of_each_class():
    y = np.repeat([0, 1, 2], [20, 11, 1])
    numbered = np.column_stack([np.arange(1, 33), np.eye(3)[y]])
    Spy.log.clear()
    FunnellingClassifier(estimator=Spy(), cv=4, random_state=0).fit(numbered, y)
    held = [y[np.array(sorted(scored), dtype=int) - 1] for _, scored in Spy.log]
    assert [np.sum(part == 0) for part in held] == [5] * 4
    assert {np.sum(part == 1) for part in held} == {2, 3}


@pytest.mark.parametrize("aggregate", ["mean", "concat"])
def test_the_order_of_views_does_not_matter(aggregate):
    X, y = several()
    turned = head(views=LANGUAGES[::-1], aggregate=aggregate)
    other = np.hstack([X[:, 9:], X[:, 5:9], X[:, :5]])
    expected = head(aggregate=aggregate).fit(X, y).decision_function(X)
    np.testing.assert_allclose(turned.fit(other, y).decision_function(other), expected, atol=1e-8)


def test_a_class_that_a_view_never_saw_has_0_there():
    X, y = several()
    y[: len(X) // 2] %= 2
    X[:, 9:] = 0
    found = head(meta=AsItIs(), cv=None).fit(X, y).predict_proba(X)
    assert (found[: len(X) // 2, 2] == 0).all()
    assert (found[len(X) // 2 :, 2] > 0).all()


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_array])
def test_sparse_is_dense_even_with_zeros_written_out(kind):
    X, y = several()
    given = kind(X)
    if kind is sparse.csr_matrix:
        rows, columns = np.indices(X.shape).reshape(2, -1)
        given = kind((X.ravel(), (rows, columns)), shape=X.shape)
        assert given.nnz == X.size
    dense = head().fit(X, y)
    found = head().fit(given, y)
    np.testing.assert_allclose(found.decision_function(given), dense.decision_function(X), atol=1e-4)


def test_half_the_precision_and_many_rows_change_nothing():
    X, y = several()
    X = X.astype(np.float32)
    once, wide = head().fit(X, y), head().fit(X.astype(np.float64), y)
    np.testing.assert_allclose(once.decision_function(X), wide.decision_function(X.astype(np.float64)), atol=1e-5)
    many = np.tile(X, (50, 1))
    np.testing.assert_allclose(once.decision_function(many), np.tile(once.decision_function(X), (50, 1)), atol=1e-12)


@pytest.mark.parametrize("cv", [None, 2, 5, 1000])
def test_small_classes_and_small_views(cv, tmp_path):
    """A class of one row, a language of one row, one of one class, one that nothing is in, and a row of none."""
    X = np.zeros((9, 8))
    X[:5, :2], X[5, 2:4], X[6:8, 4:6] = np.arange(1, 11).reshape(5, 2), 1, 1
    y = ["a", "a", "b", "b", "only one", "a", "b", "b", "a"]
    fitted = FunnellingClassifier(views=(2, 2, 2, 2), cv=cv, random_state=0).fit(X, y)
    assert fitted.estimators_[3] is None
    assert fitted.classes_.tolist() == ["a", "b", "only one"]
    asked = np.vstack([X, np.eye(8)[7]])
    assert np.isfinite(fitted.decision_function(asked)).all()
    np.testing.assert_array_equal(fitted.predict(asked)[9], fitted.predict(asked)[8])
    fitted.save(tmp_path / "head")
    again = FunnellingClassifier.load(tmp_path / "head")
    np.testing.assert_array_equal(again.decision_function(asked), fitted.decision_function(asked))


def test_labels_of_any_kind_and_two_classes():
    X, y = several(classes=2)
    plain = head().fit(X, y)
    assert plain.decision_function(X).shape == (len(X),)
    for names in (np.array([-1, 7]), np.array(["no", "yes"])):
        named = head().fit(X, names[y])
        np.testing.assert_array_equal(named.predict(X), names[plain.predict(X)])


def test_probabilities_are_there_where_meta_has_them():
    X, y = several()
    assert not hasattr(head(), "predict_proba")
    assert not hasattr(head().fit(X, y), "predict_proba")
    proper = head(meta=LogisticRegression()).fit(X, y)
    np.testing.assert_allclose(proper.predict_proba(X).sum(axis=1), 1)
    assert not hasattr(head(meta=AsItIs()), "decision_function")


def test_arguments_are_left_as_they_are():
    estimator, meta = LogisticRegression(C=3), LogisticRegression()
    fitted = head(estimator=estimator, meta=meta).fit(*several())
    assert not hasattr(estimator, "coef_")
    assert not hasattr(meta, "coef_")
    assert clone(fitted).estimator.C == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cv": 1}, "cv must be a whole number from 2, or None; received 1"),
        ({"cv": True}, "cv must be"),
        ({"cv": 2.0}, "cv must be"),
        ({"aggregate": "sum"}, "aggregate must be 'mean' or 'concat'; received 'sum'"),
        ({"views": (5, 4)}, r"add up to the 12 of X; received \(5, 4\)"),
        ({"views": (12, 0)}, "numbers of columns from 1"),
        ({"views": 12}, "views must be"),
        ({"views": ()}, "views must be"),
        ({"estimator": LinearSVC()}, "estimator must have predict_proba"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        FunnellingClassifier(**options).fit(*several())


def test_one_class_is_refused():
    with pytest.raises(InputError, match="y must hold two classes or more; received one class, a"):
        head().fit(several()[0], ["a"] * 48)
