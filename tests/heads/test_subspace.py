"""Classes as subspaces: the oracle is numpy's singular value decomposition."""

import tracemalloc

import numpy as np
import pytest

from embedkit.errors import InputError
from embedkit.heads import SubspaceClassifier

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 10)) * DRAW.uniform(0.1, 9, size=(60, 1)) + DRAW.normal(size=(3, 10))[np.arange(60) % 3]
Y = np.array(["one", "two", "six"])[np.arange(60) % 3]
NEW = DRAW.normal(size=(25, 10))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("rows", [60, 18])  # 20 or 6 a class, of width 10
def test_the_singular_vectors_of_numpy_give_the_same(k, rows):
    head = SubspaceClassifier(num_components=k, temperature=0.5).fit(X[:rows], Y[:rows])
    expected = np.zeros((25, 3))
    for column, each in enumerate(["one", "six", "two"]):
        right = np.linalg.svd(unit(X[:rows][Y[:rows] == each]))[2][: min(k, rows // 3)]
        for row, x in enumerate(NEW):
            expected[row, column] = np.sqrt(sum((vector @ x) ** 2 for vector in right)) / np.linalg.norm(x) / 0.5
    np.testing.assert_allclose(head.decision_function(NEW), expected, atol=1e-9)
    powers = np.exp(expected)
    np.testing.assert_allclose(head.predict_proba(NEW), powers / powers.sum(axis=1, keepdims=True))
    for basis in head.bases_:
        filled = basis[: min(k, rows // 3)]
        np.testing.assert_allclose(filled @ filled.T, np.eye(len(filled)), atol=1e-12)
        assert not basis[len(filled) :].any()


def test_by_hand():
    """(3, 4, 12) has length 13 and lies 5 / 13 along the floor, 12 / 13 along what is up."""
    head = SubspaceClassifier(num_components=2, temperature=1.0)
    head.fit([[1.0, 1.0, 0.0], [2.0, -2.0, 0.0], [0.0, 0.0, 7.0]], ["floor", "floor", "up"])
    np.testing.assert_allclose(head.decision_function([[3.0, 4.0, 12.0]]), [12 / 13 - 5 / 13])
    np.testing.assert_allclose(np.abs(head.bases_[1]), [[0, 0, 1], [0, 0, 0]])


def test_one_component_is_the_size_of_a_cosine():
    head = SubspaceClassifier(num_components=1, temperature=1.0).fit(X, Y)
    np.testing.assert_allclose(head.decision_function(NEW), np.abs(unit(NEW) @ head.bases_[:, 0].T))


def test_as_many_components_as_columns_hold_every_row():
    for k in (10, 99):
        head = SubspaceClassifier(num_components=k, temperature=1.0).fit(X, Y)
        np.testing.assert_allclose(head.decision_function(NEW), 1)


def test_neither_another_basis_of_a_subspace_nor_sign_and_length_of_a_row_matter():
    head = SubspaceClassifier(num_components=4).fit(X, Y)
    scores = head.decision_function(NEW)
    np.testing.assert_allclose(head.decision_function(-7 * NEW), scores)
    np.testing.assert_allclose(SubspaceClassifier(num_components=4).fit(-3 * X, Y).decision_function(NEW), scores)
    rotation, _ = np.linalg.qr(DRAW.normal(size=(4, 4)))
    head.bases_ = rotation @ head.bases_
    np.testing.assert_allclose(head.decision_function(NEW), scores)


def test_classes_that_are_added_leave_old_scores_bit_for_bit_and_give_what_fit_gives():
    head = SubspaceClassifier(num_components=3).fit(X[Y != "one"], Y[Y != "one"])
    head.partial_fit(X[:0:-1], np.where(Y == "two", "zwo", np.where(Y == "six", "sex", "ein"))[:0:-1])
    before = head.decision_function(NEW)[:, np.isin(head.classes_, ["two", "six"])]
    head.partial_fit(X[Y == "one"], Y[Y == "one"], classes=["to come"])
    after = head.decision_function(NEW)
    np.testing.assert_array_equal(after[:, np.isin(head.classes_, ["two", "six"])], before)
    assert (after[:, head.classes_ == "to come"] == -np.inf).all()
    whole = SubspaceClassifier(num_components=3).fit(X, Y)
    np.testing.assert_array_equal(after[:, np.isin(head.classes_, whole.classes_)], whole.decision_function(NEW))
    head.partial_fit(NEW, ["to come"] * 25)
    assert np.isfinite(head.decision_function(NEW)).all()


def test_a_class_that_is_known_takes_only_the_rows_it_had_and_nothing_has_changed():
    head = SubspaceClassifier().fit(X, Y)
    before = head.decision_function(NEW)
    with pytest.raises(InputError, match=r"must bring all rows of new classes.*received other rows of 'six'"):
        head.partial_fit(X[:2], ["new", "six"])
    with pytest.raises(InputError, match="all numbers or all texts"):
        head.partial_fit(X[:2], [1, 2])
    with pytest.raises(ValueError, match="9 features"):
        head.partial_fit(X[:2, :9], ["new", "new"])
    head.partial_fit(X[Y == "six"], Y[Y == "six"])
    assert head.classes_.tolist() == ["one", "six", "two"]
    np.testing.assert_array_equal(head.decision_function(NEW), before)


def test_rows_that_repeat_give_one_direction_and_zeros_none():
    same = np.vstack([np.tile(NEW[0], (5, 1)) * np.arange(1, 6)[:, None], np.zeros((2, 10)), NEW[1:2]])
    for dtype in (np.float32, np.float64):
        head = SubspaceClassifier(num_components=3).fit(same.astype(dtype), [0, 0, 0, 0, 0, -1, -1, 5])
        assert (np.linalg.norm(head.bases_, axis=2) > 0.5).sum(axis=1).tolist() == [0, 1, 1]
        assert head.predict(np.vstack([NEW[:2], np.zeros(10)])).tolist() == [0, 5, -1]
    assert SubspaceClassifier().fit(NEW[:1], ["only"]).predict(NEW[:2]).tolist() == ["only", "only"]


def test_single_and_double_precision_agree_and_single_stays_single():
    single, double = (SubspaceClassifier(num_components=3).fit(X.astype(each), Y) for each in (np.float32, np.float64))
    assert single.bases_.dtype == np.float32
    np.testing.assert_allclose(
        single.decision_function(NEW.astype(np.float32)) / 25, double.decision_function(NEW) / 25, atol=1e-5
    )


def test_ten_thousand_classes_are_scored_in_little_memory():
    head = SubspaceClassifier(num_components=8).fit(np.eye(8), np.arange(8))
    head.classes_, head.counts_ = np.arange(10_000), np.ones(10_000)
    head.bases_ = np.broadcast_to(np.eye(8), (10_000, 8, 8))
    tracemalloc.start()
    assert np.ptp(head.decision_function(NEW[:, :8]).max(axis=1)) < 1e-12
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 25 * 10_000 * 8 + 64 * 10_000


@pytest.mark.parametrize("arguments", [{"num_components": 0}, {"num_components": 2.0}, {"num_components": True}])
def test_a_number_of_components_that_cannot_be_is_refused(arguments):
    with pytest.raises(InputError, match="num_components must be 1 or more"):
        SubspaceClassifier(**arguments).fit(X, Y)


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(InputError, match="temperature must be a number above 0"):
        SubspaceClassifier(temperature=0.0).fit(X, Y)
