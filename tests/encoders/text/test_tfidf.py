"""TF-IDF + LSA: the oracle is scikit-learn's own pipeline."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import embedkit as ek
from embedkit.encoders.text.tfidf import TfidfInput, tfidf_lsa
from embedkit.errors import InputError, ModelError

TEXTS = [
    "a cat sat on the mat",
    "the dog barks at the cat, the cat",
    "income tax law",
    "a tax on income",
    "Naïve café, 東京 42",
    "dogs bark at a café; a cat sits",
]
NEW = ["The cat barks", "", "!?", "nothing known here", "tax tax tax law", "a 東京 café"]
OPTIONS = {
    "default": {},
    "counts": {"sublinear_tf": False},
    "pairs": {"ngram_range": (1, 2)},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 3)},
    "characters over blanks": {"analyzer": "char", "ngram_range": (1, 3)},
    "frequent": {"min_df": 2},
    "few": {"max_features": 5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_vectors_are_those_of_scikit_learn(options):
    pattern = None if "analyzer" in options else r"(?u)\b\w+\b"
    words = {"sublinear_tf": True, "token_pattern": pattern, **options}
    theirs = make_pipeline(TfidfVectorizer(**words), TruncatedSVD(3, random_state=0)).fit(TEXTS)
    ours = tfidf_lsa(TEXTS, dim=3, **options)
    for texts in (TEXTS, NEW):
        np.testing.assert_allclose(ours.encode(texts), theirs.transform(texts), rtol=0, atol=1e-6)


def test_a_module_in_plain_loops():
    terms, idf = ["cat", "dog", "tax"], [1.0, 2.0, 3.0]
    projection = np.random.default_rng(0).normal(size=(3, 4))
    module = TfidfInput(terms, idf, projection)
    for text in ("cat cat dog", "tax", "bird", ""):
        weights = {}
        for term, rarity in zip(terms, idf, strict=True):
            if count := text.split().count(term):
                weights[term] = (1 + math.log(count)) * rarity
        length = math.sqrt(sum(weight**2 for weight in weights.values()))
        expected = sum(
            (weight / length * projection[terms.index(term)] for term, weight in weights.items()), np.zeros(4)
        )
        found = module(module.preprocess([text]))["sentence_embedding"][0]
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-6)


def test_worked_by_hand():
    """Two counts of one term and one of another, without logarithm: (2·1, 1·2) has length √8, so both weigh 1/√2."""
    module = TfidfInput(["cat", "dog"], [1.0, 2.0], np.eye(2), sublinear_tf=False)
    found = module(module.preprocess(["cat dog cat"]))["sentence_embedding"][0]
    np.testing.assert_allclose(found.detach().numpy(), [math.sqrt(0.5)] * 2, rtol=1e-6)


def test_all_directions_keep_every_similarity():
    texts = TEXTS[:4]
    full = tfidf_lsa(texts, dim=4).encode(texts)
    plain = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    np.testing.assert_allclose(full @ full.T, (plain @ plain.T).toarray(), rtol=0, atol=1e-5)


def test_narrower_is_the_smaller_lsa():
    wide = tfidf_lsa(TEXTS, dim=5).encode(TEXTS, truncate_dim=2)
    narrow = tfidf_lsa(TEXTS, dim=2).encode(TEXTS)
    np.testing.assert_allclose(np.abs(wide), np.abs(narrow), rtol=0, atol=1e-4)


def test_order_of_words_and_unknown_ones_do_not_matter():
    encoder = tfidf_lsa(TEXTS, dim=3)
    one, other, more = encoder.encode(["cat sat mat", "mat cat sat", "cat xyzzy sat mat"])
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one, more, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "!?", "xyzzy"])
def test_a_text_without_known_terms_is_zero_and_never_nan(text):
    encoder = tfidf_lsa(TEXTS, dim=3)
    assert not encoder.encode(text).any()
    assert not encoder.encode([text, "cat"], normalize_embeddings=True, truncate_dim=2)[0].any()


def test_one_document():
    encoder = tfidf_lsa(["a red cat"], dim=1)
    np.testing.assert_allclose(np.abs(encoder.encode(["a red cat", "cat", "dog"]).ravel()), [1, 3**-0.5, 0], atol=1e-6)


def test_the_folder_holds_json_and_safetensors_alone(tmp_path):
    encoder = tfidf_lsa(TEXTS, dim=3, analyzer="char", ngram_range=(1, 2))
    encoder.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors", ".md"}
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config == {"analyzer": "char", "ngram_range": [1, 2], "sublinear_tf": True}
    reloaded = ek.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(reloaded.encode([*TEXTS, *NEW, "a\nb"]), encoder.encode([*TEXTS, *NEW, "a\nb"]))


def test_the_vocabulary_is_part_of_what_it_is():
    encoders = [TfidfInput([word], [1.0], [[1.0]]) for word in ("cat", "dog", "cat")]
    fingerprints = [ek.Encoder([module], device="cpu").fingerprint for module in encoders]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_a_damaged_folder_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    tfidf_lsa(TEXTS, dim=3).save_pretrained(str(tmp_path / "model"))
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({**weights, "idf": weights["idf"][:-1].clone()}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(ModelError, match="must go together"):
        ek.load(tmp_path / "model")


def test_the_projection_trains():
    encoder = tfidf_lsa(TEXTS, dim=3).train()
    encoder(encoder.preprocess(TEXTS))["sentence_embedding"].sum().backward()
    assert torch.isfinite(encoder[0].projection.grad).all()
    assert encoder[0].projection.grad.any()


@pytest.mark.parametrize("dim", [0, -1, 7, 2.0, "3", None, True])
def test_a_width_out_of_range_is_refused(dim):
    with pytest.raises(InputError, match=r"dim must be between 1 and 6, the smaller of 6 texts and [0-9]+ terms"):
        tfidf_lsa(TEXTS, dim=dim)


def test_texts_without_terms_are_refused():
    with pytest.raises(InputError, match="texts must hold a text"):
        tfidf_lsa([], dim=1)
    with pytest.raises(InputError, match="found no term"):
        tfidf_lsa(["", "!?"], dim=1)
    with pytest.raises(InputError, match=r"texts\[1\] must be str"):
        tfidf_lsa(["a", 5], dim=1)
    with pytest.raises(InputError, match="texts must be a list of str"):
        tfidf_lsa("a cat", dim=1)


def test_options_that_are_none_are_refused():
    with pytest.raises(InputError, match="analyzer must be one of"):
        tfidf_lsa(TEXTS, dim=2, analyzer="words")
    for bounds in ((0, 1), (2, 1), (1,), (1.0, 2)):
        with pytest.raises(InputError, match="ngram_range must be"):
            tfidf_lsa(TEXTS, dim=2, ngram_range=bounds)
    for terms in (["a"], ["a", "a"]):
        with pytest.raises(InputError, match="must go together"):
            TfidfInput(terms, [1.0, 1.0], np.eye(2))
    with pytest.raises(InputError, match="must go together"):
        TfidfInput([], [], np.zeros((0, 2)))
