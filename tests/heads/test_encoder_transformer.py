"""Raw inputs are no matrix, so scikit-learn's checks cannot be asked; what they would ask of a transformer is here."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union

from embedkit.errors import InputError
from embedkit.heads import EncoderTransformer, ZeroShotClassifier

TEXTS = [f"{animal} number {number}" for number in range(10) for animal in ("cat", "dog")]
LABELS = ["cat", "dog"] * 10


class CountingEncoder:
    """Counts letters, and what it is asked; scikit-learn would copy it, and may not."""

    def __init__(self, dim=26):
        self.dim, self.asked = dim, []

    def get_embedding_dimension(self):
        return self.dim

    def encode(self, inputs, *, truncate_dim=None, prompt=""):
        self.asked += list(inputs)
        texts = [prompt + (each["text"] if isinstance(each, dict) else str(each)) for each in inputs]
        vectors = np.array([[text.count(chr(97 + i)) for i in range(self.dim)] for text in texts], dtype=np.float64)
        return vectors.reshape(-1, self.dim)[:, :truncate_dim]

    def __deepcopy__(self, memo):
        raise AssertionError("an encoder was copied")


@pytest.fixture
def encoder():
    return CountingEncoder()


def test_rows_are_what_the_encoder_gives_each_encoded_once(encoder):
    inputs = ["cab", "abba", "cab", "", "abba"]
    transformer = EncoderTransformer(encoder)
    found = transformer.fit_transform(inputs)
    expected = np.stack([CountingEncoder().encode([text])[0] for text in inputs])
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, transformer.dim_) == (np.float32, 26)
    assert found[1, :3].tolist() == [2, 2, 0]
    assert encoder.asked == ["cab", "abba", ""]
    for again in (tuple(inputs), np.array(inputs), np.array(inputs, dtype=object)):
        np.testing.assert_array_equal(transformer.transform(again), expected)
    assert len(encoder.asked) == 3


def test_folds_and_candidates_encode_each_input_once(encoder):
    pipeline = make_pipeline(EncoderTransformer(encoder), LogisticRegression())
    assert cross_val_score(pipeline, TEXTS, LABELS, cv=5).mean() == 1
    assert sorted(encoder.asked) == sorted(TEXTS)
    GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(np.array(TEXTS), LABELS)
    assert len(encoder.asked) == len(TEXTS)


def test_a_search_chooses_among_encoders(encoder):
    blind = CountingEncoder(dim=1)  # "cat" has an a, and so it is not quite
    blind.encode = lambda inputs: np.zeros((len(inputs), 1))
    steps = [EncoderTransformer(blind), EncoderTransformer(encoder)]
    search = GridSearchCV(
        make_pipeline(EncoderTransformer(encoder), ZeroShotClassifier()), {"encodertransformer": steps}, cv=3
    )
    search.fit(TEXTS, LABELS)
    assert search.best_estimator_[0].encoder is encoder
    assert len(encoder.asked) == len(TEXTS)


def test_a_clone_shares_the_encoder_and_what_is_known(encoder):
    first = EncoderTransformer(encoder, options={"truncate_dim": 3}, cache_size=7)
    second = clone(first)
    assert (second.encoder is encoder, second.options, second.cache_size) == (True, {"truncate_dim": 3}, 7)
    second.fit(TEXTS[:4])
    clone(first).transform(TEXTS[:4])
    assert len(encoder.asked) == 4
    assert not hasattr(clone(second), "dim_")


def test_a_copy_has_a_memory_of_its_own():
    first = EncoderTransformer(None)
    first._memory()["key"] = np.ones(1)
    assert copy.deepcopy(first)._memory() == {}


def test_two_encoders_stand_side_by_side(encoder):
    other = CountingEncoder(dim=2)
    union = make_union(EncoderTransformer(encoder), EncoderTransformer(other))
    found = union.fit_transform(TEXTS)
    np.testing.assert_array_equal(found, np.hstack([encoder.encode(TEXTS), other.encode(TEXTS)]))
    assert union.get_feature_names_out()[-1] == "encodertransformer-2__encodertransformer1"


def test_columns_have_names_where_a_frame_is_asked_for(encoder):
    pandas = pytest.importorskip("pandas", reason="the extra tables is not installed")
    transformer = clone(EncoderTransformer(encoder, options={"truncate_dim": 2}).set_output(transform="pandas"))
    series = pandas.Series(["ab", "b"], index=[7, 9])
    for inputs, index in ((series, [7, 9]), (series.tolist(), [0, 1])):
        frame = transformer.fit_transform(inputs)
        assert frame.columns.tolist() == ["encodertransformer0", "encodertransformer1"]
        assert (frame.index.tolist(), frame.to_numpy().tolist()) == (index, [[1, 1], [0, 1]])


def test_options_go_to_the_encoder_and_are_told_apart(encoder):
    transformer = EncoderTransformer(encoder)
    shapes = [
        transformer.set_params(options=options).fit_transform(["aaa"])[0].tolist()
        for options in ({"truncate_dim": 1}, {"truncate_dim": 2}, {"prompt": "a", "truncate_dim": 1})
    ]
    assert shapes == [[3], [3, 0], [4]]


def test_memory_is_bounded_and_what_it_holds_is_kept(encoder):
    transformer = EncoderTransformer(encoder, cache_size=3)
    first = transformer.transform(TEXTS[:5])
    first[:] = -1  # which is the caller's own
    np.testing.assert_array_equal(transformer.transform(TEXTS[:5]), CountingEncoder().encode(TEXTS[:5]))
    assert encoder.asked == [*TEXTS[:5], *TEXTS[3:5]]
    nothing = EncoderTransformer(encoder, cache_size=0)
    encoder.asked.clear()
    nothing.fit_transform(TEXTS[:2])
    nothing.transform(TEXTS[:2])
    assert encoder.asked == TEXTS[:2] * 2


def test_inputs_whose_content_is_unknown_are_encoded_each_time(encoder):
    records = [{"text": "aa"}, {"text": "b"}]
    transformer = EncoderTransformer(encoder, options={"truncate_dim": 2})
    for _ in range(2):
        assert transformer.transform(records).tolist() == [[2, 0], [0, 1]]
    assert encoder.asked == records * 2


def test_threads_get_the_same(encoder):
    transformer = EncoderTransformer(encoder)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: transformer.transform(TEXTS[start:] + TEXTS[:start]), range(16)))
    expected = CountingEncoder().encode(TEXTS)
    for start, vectors in enumerate(found):
        np.testing.assert_array_equal(vectors, np.roll(expected, -start, axis=0))


def test_a_pipeline_is_put_together_of_what_was_kept(encoder, tmp_path):
    pipeline = make_pipeline(EncoderTransformer(encoder), ZeroShotClassifier()).fit(TEXTS, LABELS)
    pipeline[-1].save(tmp_path / "head")
    again = make_pipeline(EncoderTransformer(encoder), ZeroShotClassifier.load(tmp_path / "head"))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), pipeline.predict_proba(TEXTS))


def test_an_encoder_says_what_is_known_and_when_it_has_changed(make_encoder):
    encoder = make_encoder()
    transformer = EncoderTransformer(encoder)
    texts = ["a cat sat", "the dog", "a cat sat"]
    before = transformer.fit_transform(texts)
    np.testing.assert_allclose(before, encoder.encode(texts), atol=1e-6)
    vectors, encode = [], type(encoder).encode
    encoder.encode = lambda inputs, **options: vectors.append(inputs) or encode(encoder, inputs, **options)
    np.testing.assert_array_equal(transformer.transform(texts), before)
    assert vectors == []
    encoder[0].auto_model.embeddings.word_embeddings.weight.requires_grad_(False).mul_(2)
    assert np.abs(clone(transformer).transform(texts) - before).max() > 1e-3
    assert vectors == [["a cat sat", "the dog"]]
    assert transformer.transform([]).shape == (0, 32)
    with pytest.raises(InputError, match="must be text"):
        transformer.transform([1, 2])


def test_pictures_are_known_by_their_pixels():
    from embedkit.encoders.image import histogram_encoder

    pictures = np.random.default_rng(0).integers(0, 255, size=(4, 16, 16, 3), dtype=np.uint8)
    encoder = histogram_encoder(device="cpu")
    transformer = EncoderTransformer(encoder)
    found = transformer.fit_transform(pictures)
    encoder.encode = None
    np.testing.assert_array_equal(clone(transformer).transform(list(pictures[::-1])), found[::-1])


class Flat(CountingEncoder):
    def encode(self, inputs):
        return np.ones(3)


@pytest.mark.parametrize(
    ("made", "inputs", "said"),
    [
        (lambda: EncoderTransformer(CountingEncoder()), "one text", "inputs must be a list or array .* one str"),
        (lambda: EncoderTransformer(CountingEncoder()), iter(TEXTS), "inputs must be a list or array"),
        (lambda: EncoderTransformer("minilm"), TEXTS, "encoder must have encode and get_embedding_dimension"),
        (lambda: EncoderTransformer(CountingEncoder), TEXTS, "encoder must have encode"),
        (lambda: EncoderTransformer(CountingEncoder(), options=3), TEXTS, "options must be arguments of encode"),
        (lambda: EncoderTransformer(CountingEncoder(), cache_size=-1), TEXTS, "cache_size must be a whole number"),
        (lambda: EncoderTransformer(Flat()), TEXTS, r"must give 20 inputs a vector each, \(20, dim\).* \(3,\)"),
    ],
)
def test_what_cannot_be_is_refused(made, inputs, said):
    with pytest.raises(InputError, match=said):
        made().fit(inputs)
