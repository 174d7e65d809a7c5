"""What every head must do: scikit-learn's checks, and be the same after it was kept."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from embedkit.errors import CorruptFileError, InputError, ModelError
from embedkit.heads import (
    ConformalClassifier,
    ConformalLabelSets,
    EncoderTransformer,
    FrechetClassifier,
    FunnellingClassifier,
    GaussianClassifier,
    LabelNameClassifier,
    NovelClassKMeans,
    PrototypeClassifier,
    RandomFeatureClassifier,
    RidgeAligner,
    SemiSupervisedGaussianMixture,
    SubspaceClassifier,
    ZeroShotClassifier,
)
from embedkit.heads.stored import StoredHead

ALIGNED, CLASSIFIED, DISCOVERED, LABELLED = ("X", "Y"), ("X", "y"), ("X", "y with -1"), ("X", "sets of labels")
MAKE_TARGETS = {
    "Y": lambda draw: draw.normal(size=(40, 3)),
    "y": lambda _: np.arange(40) % 3,
    "y with -1": lambda _: np.arange(40) % 3 - 1,
    "sets of labels": lambda draw: draw.integers(2, size=(40, 3)),
}
HEADS = {
    "ConformalClassifier": (lambda: ConformalClassifier(alpha=0.2), CLASSIFIED),
    "ConformalClassifier, by class": (
        lambda: ConformalClassifier(alpha=0.5, nonconformity="aps", mondrian=True, random_state=0),
        CLASSIFIED,
    ),
    "ConformalLabelSets": (lambda: ConformalLabelSets(alpha=0.2), LABELLED),
    "ConformalLabelSets, norm": (lambda: ConformalLabelSets(alpha=0.2, nonconformity="norm"), LABELLED),
    "FrechetClassifier": (FrechetClassifier, CLASSIFIED),
    "FrechetClassifier, another": (lambda: FrechetClassifier(estimator=GaussianNB(), temperature=2.0), CLASSIFIED),
    "FunnellingClassifier": (lambda: FunnellingClassifier(cv=2, random_state=0), CLASSIFIED),
    "FunnellingClassifier, seen": (lambda: FunnellingClassifier(meta=GaussianNB(), cv=None), CLASSIFIED),
    "GaussianClassifier": (GaussianClassifier, CLASSIFIED),
    "GaussianClassifier, chosen": (lambda: GaussianClassifier(shrinkage="auto", priors="counts"), CLASSIFIED),
    "GaussianClassifier, diagonal": (lambda: GaussianClassifier(covariance="diagonal"), CLASSIFIED),
    "LabelNameClassifier": (LabelNameClassifier, CLASSIFIED),
    "LabelNameClassifier, k-means": (lambda: LabelNameClassifier(refine="kmeans"), DISCOVERED),
    "NovelClassKMeans": (lambda: NovelClassKMeans(max_novel=5, num_init=2, random_state=0), DISCOVERED),
    "NovelClassKMeans, or known": (
        lambda: NovelClassKMeans(max_novel=3, known_in_unlabelled=True, num_init=2, random_state=0),
        DISCOVERED,
    ),
    "PrototypeClassifier": (PrototypeClassifier, CLASSIFIED),
    "PrototypeClassifier, Euclidean": (lambda: PrototypeClassifier(metric="euclidean"), CLASSIFIED),
    "RandomFeatureClassifier": (lambda: RandomFeatureClassifier(num_features=50), CLASSIFIED),
    "RandomFeatureClassifier, rows": (lambda: RandomFeatureClassifier(num_features=0, alpha=0.1), CLASSIFIED),
    "RidgeAligner": (RidgeAligner, ALIGNED),
    "RidgeAligner, one alpha": (lambda: RidgeAligner(alpha=0.5), ALIGNED),
    "SemiSupervisedGaussianMixture": (
        lambda: SemiSupervisedGaussianMixture(prior_scale=(0.05, 0.2), max_novel=5, random_state=0),
        DISCOVERED,
    ),
    "SubspaceClassifier": (lambda: SubspaceClassifier(num_components=1), CLASSIFIED),
    "ZeroShotClassifier": (ZeroShotClassifier, CLASSIFIED),
}

OF_RAW_INPUTS = {"EncoderTransformer": lambda: EncoderTransformer(None)}
"""These read no matrix, which is all that scikit-learn's checks give: tests of their own ask the same of texts."""


def expected_failures(estimator):
    """Scikit-learn's check takes -1 for a class, but for its own estimators that learn from rows without one."""
    reason = "-1 is a row without a class"
    return {"check_classifiers_classes": reason} if isinstance(estimator, LabelNameClassifier) else {}


@parametrize_with_checks([make() for make, _ in HEADS.values()], expected_failed_checks=expected_failures)
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("make", OF_RAW_INPUTS.values(), ids=OF_RAW_INPUTS)
def test_what_reads_raw_inputs_says_so(make):
    assert not get_tags(make()).input_tags.two_d_array


def answer(head, X):
    """What the head makes of X."""
    return next(getattr(head, name) for name in ("predict_proba", "transform", "predict") if hasattr(head, name))(X)


@pytest.fixture(params=HEADS)
def fitted(request):
    make, (_, kind) = HEADS[request.param]
    draw = np.random.default_rng(0)
    X = draw.normal(size=(40, 6))
    return make().fit(X, MAKE_TARGETS[kind](draw)), X


def test_a_kept_head_is_the_same(fitted, tmp_path):
    head, X = fitted
    head.save(tmp_path / "head")
    again = type(head).load(tmp_path / "head")
    np.testing.assert_array_equal(answer(again, X), answer(head, X))
    assert repr(again) == repr(head)
    assert clone(again).get_params().keys() == head.get_params().keys()
    again.save(tmp_path / "head")
    assert {path.name for path in (tmp_path / "head").iterdir()} == {
        "config.json",
        "model.safetensors",
        "embedkit.json",
    }


def test_names_of_columns_are_kept(fitted, tmp_path):
    pandas = pytest.importorskip("pandas", reason="the extra tables is not installed")
    head, X = fitted
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    head = clone(head).fit(frame, X[:, :3] if hasattr(head, "transform") else np.repeat(["one", "two"], 20))
    head.save(tmp_path / "head")
    again = type(head).load(tmp_path / "head")
    np.testing.assert_array_equal(answer(again, frame), answer(head, frame))
    with pytest.raises(ValueError, match="feature names"):
        answer(again, frame[list("fedcba")])


def test_texts_are_refused_with_what_to_do(fitted):
    head, X = fitted
    with pytest.raises(InputError, match=r"X must be vectors.*'where is my card\?'.*EncoderTransformer"):
        answer(head, ["where is my card?"])
    with pytest.raises(InputError, match="X must be vectors"):
        clone(head).fit(["where is my card?", "and my money?"] * 20, np.arange(40) % 3)
    cells = X.astype(object)
    cells[3, 2] = "a word"
    for given in (cells, cells.tolist()):
        with pytest.raises(InputError, match=r"X must be vectors.*'a word'"):
            answer(head, given)
    for numbers in (np.full_like(X, np.nan), [[1.0], [1.0, 2.0]]):
        with pytest.raises(ValueError) as told:
            answer(head, numbers)
        assert "vectors" not in str(told.value)


def test_a_refused_fit_leaves_the_head_as_it_was(fitted):
    head, X = fitted
    before = answer(head, X)
    for rows, targets in ((X[:, :4], np.arange(39)), (np.full_like(X, np.nan), np.arange(40)), (X[:0], np.arange(0))):
        with pytest.raises(ValueError):
            head.fit(rows, targets)
        np.testing.assert_array_equal(answer(head, X), before)


def test_damage_is_told(fitted, tmp_path):
    head, _ = fitted
    head.save(tmp_path / "head")
    weights = tmp_path / "head" / "model.safetensors"
    held = weights.read_bytes()
    weights.write_bytes(held[:-8] + bytes(255 - byte for byte in held[-8:]))
    with pytest.raises(CorruptFileError, match="differs from its checksum"):
        type(head).load(tmp_path / "head")
    with pytest.raises(CorruptFileError, match="is missing"):
        type(head).load(tmp_path / "nothing")


def test_another_class_is_refused(fitted, tmp_path):
    head, _ = fitted
    head.save(tmp_path / "head")

    class Other(StoredHead):
        pass

    with pytest.raises(ModelError, match=f"must hold a Other; it holds '{type(head).__name__}'"):
        Other.load(tmp_path / "head")


def test_what_was_not_fitted_is_not_kept(fitted, tmp_path):
    with pytest.raises(NotFittedError):
        clone(fitted[0]).save(tmp_path / "head")
    assert not (tmp_path / "head").exists()


def test_the_folder_holds_no_pickle(fitted, tmp_path):
    head, _ = fitted
    head.save(tmp_path / "head")
    config = json.loads((tmp_path / "head" / "config.json").read_text())
    assert config["class"] == type(head).__name__
    assert (tmp_path / "head" / "model.safetensors").read_bytes()[8:9] == b"{"
