"""Named dimensions: scores come apart exactly, and Lbl2TransformerVec is the closed form."""

import math

import numpy as np
import pytest

import embedkit as ek
from embedkit.encoders.concepts import ConceptEncoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.errors import InputError, ModelError
from embedkit.modules.projection import LinearConcepts, PrototypeConcepts
from embedkit.types import SupportsEncode

KEYWORDS = {"animals": ["cat", "the dog barks"], "colours": ["red", "green", "blue"], "numbers": "one two three"}
DOCUMENTS = ["a cat sat on the mat", "the bird sings", "red and blue", "three", "def return", "not one dog"]


@pytest.fixture
def concepts(make_encoder):
    return ConceptEncoder.from_keywords(make_encoder(), KEYWORDS)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_dimension_is_the_similarity_to_its_keywords(make_encoder, concepts):
    encoder = make_encoder()
    expected = []
    for text in DOCUMENTS:
        row = []
        for words in KEYWORDS.values():
            described = [words] if isinstance(words, str) else words
            prototype = np.mean([encoder.encode(word).astype(np.float64) for word in described], axis=0)
            row.append(max(0.0, cosine(encoder.encode(text).astype(np.float64), prototype)))
        expected.append(row)
    np.testing.assert_allclose(concepts.encode(DOCUMENTS), expected, rtol=0, atol=2e-6)
    assert concepts.names == list(KEYWORDS)
    assert concepts.get_embedding_dimension() == 3


def test_labelled_examples_are_keywords_in_another_form(make_encoder, concepts):
    inputs = ["cat", "red", "the dog barks", "one two three", "green", "blue"]
    labels = ["animals", "colours", "animals", "numbers", "colours", "colours"]
    found = ConceptEncoder.from_examples(make_encoder(), inputs, labels)
    assert found.names == concepts.names
    np.testing.assert_allclose(found.encode(DOCUMENTS), concepts.encode(DOCUMENTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("linear", [False, True])
def test_contributions_are_sorted_named_and_sum_to_the_score(make_encoder, concepts, linear):
    if linear:
        weight = np.random.default_rng(0).normal(size=(3, 32))
        concepts = ConceptEncoder(make_encoder(), LinearConcepts(list(KEYWORDS), weight, [0, 0, 0]))
    query, document = "the red cat", "one dog"
    found = concepts.explain(query, document)
    values = [part.value for part in found.contributions]
    assert values == sorted(values, reverse=True)
    assert math.fsum(values) == found.score
    vectors = [vector / np.linalg.norm(vector) for vector in concepts.encode([query, document])]
    assert found.score == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    for part in found.contributions:
        column = concepts.names.index(part.name)
        assert (part.query, part.document) == pytest.approx((vectors[0][column], vectors[1][column]), abs=1e-6)
        assert part.value == part.query * part.document


def test_worked_by_hand(make_encoder):
    """Of prototypes with the cosine c, the first is (1, c) and the second (c, 1): each shares c / (1 + c²)."""
    encoder = make_encoder()
    cat, tax = encoder.encode(["cat", "one"]).astype(np.float64)
    found = ConceptEncoder(encoder, PrototypeConcepts(["cat", "one"], [cat, tax])).explain("cat", "one")
    shared = cosine(cat, tax) / (1 + cosine(cat, tax) ** 2)
    assert found.score == pytest.approx(2 * shared, abs=1e-5)
    assert [part.value for part in found.contributions] == pytest.approx([shared] * 2, abs=1e-5)


def test_renaming_in_another_order_moves_columns_only(make_encoder, concepts):
    turned = ConceptEncoder.from_keywords(make_encoder(), dict(reversed(KEYWORDS.items())))
    np.testing.assert_allclose(turned.encode(DOCUMENTS), concepts.encode(DOCUMENTS)[:, ::-1], rtol=0, atol=1e-6)
    one, other = turned.explain("cat", "dog"), concepts.explain("cat", "dog")
    assert one.score == pytest.approx(other.score, abs=1e-6)
    assert [part.name for part in one.contributions] == [part.name for part in other.contributions]


def test_queries_and_documents_keep_their_prompts(make_encoder):
    encoder = make_encoder(prompts={"query": "the cat and ", "document": ""})
    concepts = ConceptEncoder.from_keywords(encoder, KEYWORDS)
    np.testing.assert_allclose(concepts.encode_query("dog"), concepts.encode("the cat and dog"), rtol=0, atol=1e-6)
    largest = concepts.explain("dog", "dog").contributions[0]
    assert largest.query != largest.document


# -- Lbl2TransformerVec --------------------------------------------------------------------------------


@pytest.mark.parametrize("max_num_docs", [1, 2, 4])
def test_refined_scores_are_those_of_lbl2transformervec(make_encoder, concepts, max_num_docs):
    encoder = make_encoder()
    documents = [vector.astype(np.float64) for vector in encoder.encode(DOCUMENTS)]
    expected = []
    for words in KEYWORDS.values():
        described = [words] if isinstance(words, str) else words
        start = np.mean([encoder.encode(word).astype(np.float64) for word in described], axis=0)
        nearest = sorted(documents, key=lambda vector: -cosine(vector, start))[:max_num_docs]
        label = np.mean(nearest, axis=0)
        expected.append([cosine(vector, label) for vector in documents])
    found = concepts.refined(DOCUMENTS, max_num_docs=max_num_docs).encode(DOCUMENTS)
    np.testing.assert_allclose(found, np.maximum(0, np.transpose(expected)), rtol=0, atol=5e-6)


def test_refined_on_a_document_that_is_the_keyword_stays(make_encoder):
    concepts = ConceptEncoder.from_keywords(make_encoder(), {"a": "cat", "b": "red"})
    refined = concepts.refined(["cat", "red", "the bird sings"], max_num_docs=1)
    np.testing.assert_allclose(refined.encode(DOCUMENTS), concepts.encode(DOCUMENTS), rtol=0, atol=2e-6)


# -- in its places -------------------------------------------------------------------------------------


def test_it_searches_and_explains_what_it_found(concepts):
    assert isinstance(concepts, SupportsEncode)
    retriever = ek.Retriever(concepts, ek.FaissIndex())
    retriever.add(range(len(DOCUMENTS)), DOCUMENTS)
    for hit in retriever.search("a green bird", k=3):
        assert concepts.explain("a green bird", DOCUMENTS[hit.id]).score == pytest.approx(hit.score, abs=1e-5)


def test_tables_have_concepts_too(make_encoder):
    encoder = table_encoder(make_encoder())
    described = {"animals": {"animal": ["cat", "dog"]}, "colours": [{"colour": ["red"]}, {"colour": ["blue", "green"]}]}
    concepts = ConceptEncoder.from_keywords(encoder, described)
    assert concepts.encode({"b": ["red"]}).shape == (2,)


def test_saved_and_loaded(concepts, tmp_path):
    concepts.save(tmp_path / "model")
    loaded = ConceptEncoder.load(tmp_path / "model", device="cpu")
    assert loaded.names == concepts.names
    assert loaded.fingerprint == concepts.fingerprint
    np.testing.assert_array_equal(loaded.encode(DOCUMENTS), concepts.encode(DOCUMENTS))
    np.testing.assert_array_equal(loaded.base.encode(DOCUMENTS), concepts.base.encode(DOCUMENTS))
    assert loaded.explain("cat", "dog") == concepts.explain("cat", "dog")
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} <= {
        ".json",
        ".safetensors",
        ".md",
    }


def test_names_and_prototypes_are_part_of_what_it_is(make_encoder, concepts):
    renamed = ConceptEncoder.from_keywords(make_encoder(), {f"{name}!": words for name, words in KEYWORDS.items()})
    assert renamed.fingerprint != concepts.fingerprint
    assert concepts.refined(DOCUMENTS, max_num_docs=2).fingerprint != concepts.fingerprint


def test_one_concept_one_document_and_no_text(make_encoder):
    concepts = ConceptEncoder.from_keywords(make_encoder(), {"cat": "cat"})
    assert concepts.encode("cat") == pytest.approx([1.0], abs=1e-5)
    assert concepts.encode([]).shape == (0, 1)
    assert np.isfinite(concepts.encode("")).all()
    assert concepts.refined(["dog"]).encode("dog") == pytest.approx([1.0], abs=1e-5)
    assert len(concepts.explain("", "cat").contributions) <= 1


# -- what is refused -----------------------------------------------------------------------------------


def test_what_is_no_concept_is_refused(make_encoder, concepts, tmp_path):
    encoder = make_encoder()
    for keywords in ({}, {"a": []}):
        with pytest.raises(InputError, match="keywords must name at least one concept"):
            ConceptEncoder.from_keywords(encoder, keywords)
    for inputs, labels in ((["a"], []), ([], []), (["a"], ["x", "y"])):
        with pytest.raises(InputError, match="one label for each input"):
            ConceptEncoder.from_examples(encoder, inputs, labels)
    with pytest.raises(InputError, match="width 32; they read 5"):
        ConceptEncoder(encoder, PrototypeConcepts(["a"], [[1, 2, 3, 4, 5]]))
    with pytest.raises(InputError, match="one query and one document"):
        concepts.explain(["cat"], "dog")
    linear = ConceptEncoder(encoder, LinearConcepts(["a"], np.ones((1, 32)), [0]))
    with pytest.raises(InputError, match="only prototypes can be moved"):
        linear.refined(DOCUMENTS)
    encoder.save(tmp_path / "model")
    with pytest.raises(ModelError, match="is no concept encoder: it ends in Normalize"):
        ConceptEncoder.load(tmp_path / "model")
