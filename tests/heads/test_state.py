"""Estimators kept as JSON and arrays: scikit-learn's own come back, and nothing else is ever built."""

import json
import os
import warnings
from collections import namedtuple

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from embedkit.errors import CorruptFileError, InputError
from embedkit.heads import GaussianClassifier
from embedkit.heads.state import read, written
from embedkit.heads.stored import StoredHead

DRAW = np.random.default_rng(0)
Y = np.array(["red", "green", "blue"])[np.arange(45) % 3]
X = DRAW.normal(size=(45, 4)) + DRAW.normal(size=(3, 4))[np.arange(45) % 3]


class Holder(StoredHead):
    """A head that stands on another estimator."""

    def __init__(self, *, estimator=None):
        self.estimator = estimator

    def fit(self, X, y):
        self.estimator_ = self.estimator.fit(X, y)
        return self


def answer(estimator):
    return (estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.decision_function)(X)


def there_and_back(value):
    """Through real JSON."""
    arrays = {}
    text = json.dumps(written(value, "it", arrays), allow_nan=False, sort_keys=True)
    return read(json.loads(text), arrays)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.5)),
        SVC(),
        CalibratedClassifierCV(LinearSVC(), cv=3),
        OneVsRestClassifier(LogisticRegression()),
        make_pipeline(StandardScaler(), GaussianClassifier()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_within_a_head_is_the_same(estimator, tmp_path):
    head = Holder(estimator=estimator).fit(X, Y)
    head.save(tmp_path / "head")
    again = Holder.load(tmp_path / "head")
    np.testing.assert_array_equal(answer(again.estimator_), answer(head.estimator_))
    assert again.estimator_.predict(X).tolist() == head.estimator_.predict(X).tolist()
    assert repr(again) == repr(head)
    again.fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "place"),
    [
        (RandomForestClassifier(2), r"estimators_\.0\.tree_ is a Tree"),
        (KNeighborsClassifier(algorithm="kd_tree"), r"_tree is a KDTree"),
        (HistGradientBoostingClassifier(max_iter=1), r"estimator_\..* is a "),
        (LogisticRegression(random_state=np.random.RandomState(0)), r"random_state is a RandomState"),
        (make_pipeline(FunctionTransformer(os.path.join), LogisticRegression()), r"func is a function"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_cannot_be_kept_is_named_and_nothing_is_written(estimator, place, tmp_path):
    fitted = estimator if "pipeline" in type(estimator).__module__ else estimator.fit(X, Y)
    head = Holder()
    head.estimator_ = fitted
    with pytest.raises(InputError, match=place):
        head.save(tmp_path / "head")
    assert not (tmp_path / "head").exists()


@pytest.mark.parametrize(
    "value",
    [
        [None, True, 3, -(2**70), "text", "", 0.1, float("inf"), -float("inf")],
        (1, (2.5, [()]), {}),
        {0: "number", "0": "text", None: "nothing", 1.5: [], (1, 2): {"in": {}}},
    ],
)
def test_values_come_back(value):
    assert there_and_back(value) == value
    assert type(there_and_back(value)) is type(value)


def test_scalars_come_back_as_numbers():
    assert np.isnan(there_and_back(float("nan")))
    assert there_and_back([np.int64(3), np.float32(0.5), np.bool_(True), np.str_("a")]) == [3, 0.5, True, "a"]


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.array([[np.nan, -np.inf]], dtype=np.float16),
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4)[:, ::2].T,
        np.array([1.5, -2.0], dtype=">f8"),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array([["a", "élan"], ["", "x"]]),
        np.array([], dtype=str).reshape(0, 2),
        np.array([1, "a", None, (2, 3)], dtype=object),
        np.array([["a", 1], ["b", 2]], dtype=object),
        np.array("text"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back(array):
    again = there_and_back(array)
    np.testing.assert_array_equal(again, array)
    assert again.shape == array.shape
    assert again.dtype.kind == array.dtype.kind


def test_arrays_within_an_array_stay_within():
    array = np.empty(2, dtype=object)
    array[:] = [np.ones(3), np.zeros(3)]
    again = there_and_back(array)
    assert again.shape == (2,)
    np.testing.assert_array_equal(again[0], np.ones(3))


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        b"bytes",
        1j,
        os.system,
        np.float64,
        np.array([1j]),
        np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.zeros(2, dtype=np.longdouble),
        namedtuple("Pair", "a b")(1, 2),
        sklearn.utils.Bunch(a=1),
        CorruptFileError("ours, but no estimator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused(value):
    with pytest.raises(InputError, match=r"it\.0\.1 is a "):
        written([[0, value]], "it", {})


@pytest.mark.parametrize(
    "named",
    [
        "os:system",
        "subprocess:Popen",
        "embedkit.io:write_json",
        "embedkit.errors:InputError",
        "embedkit.heads.stored:Path",
        "sklearn.utils:check_array",
        "sklearn.utils:Bunch",
        "sklearn.tree._tree:Tree",
        "sklearn.nothing:Nothing",
        "sklearn.svm:Nothing",
        "sklearn.svm",
        "sklearnish:SVC",
    ],
)
def test_a_file_that_names_anything_else_is_refused(named):
    with pytest.raises(CorruptFileError, match=f"the file names '{named}'"):
        read({"object": named, "version": sklearn.__version__, "state": {}}, {})


def test_an_array_that_is_missing_is_told():
    with pytest.raises(CorruptFileError, match=r"array 'it\.coef_' is missing"):
        read({"array": "it.coef_"}, {})


def test_another_version_of_scikit_learn_is_warned_of(monkeypatch):
    arrays = {}
    kept, ours = (written(each.fit(X, Y), "it", arrays) for each in (LogisticRegression(), GaussianClassifier()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(kept, arrays)
        monkeypatch.setattr(sklearn, "__version__", "99.0")
        read(ours, arrays)
    with pytest.warns(InconsistentVersionWarning, match=r"LogisticRegression from version .* when using version 99\.0"):
        read(kept, arrays)
