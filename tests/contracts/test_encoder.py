"""What every encoder does, whatever is inside it. A new kind of encoder joins with one line in MEMBERS."""

import copy
import itertools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize

import embedkit as ek
from embedkit.encoders.code.encoder import code_encoder
from embedkit.encoders.code.vocabulary import train_code_vocabulary
from embedkit.encoders.concepts import ConceptEncoder
from embedkit.encoders.image import conv_encoder, dual_encoder, histogram_encoder, vit_encoder
from embedkit.encoders.layerwise import with_pooling
from embedkit.encoders.record import Field, Vocabulary, record_encoder
from embedkit.encoders.table.encoder import table_encoder
from embedkit.encoders.table.parts import part_encoder
from embedkit.encoders.table.tapas import tapas_encoder
from embedkit.encoders.text import distill_static, nv_embed, prompt_encoder, static_encoder, tfidf_lsa
from embedkit.errors import InputError
from embedkit.modules.pooling import LatentAttentionPooling, LayerMixPooling
from embedkit.modules.projection import LinearConcepts, PrototypeConcepts

TOLERANCE = 2e-6  # float32 rounding of one sum taken in another order; vectors have lengths near 1 to 5

TEXTS = [
    "a cat sat on the mat",
    "the dog barks",
    "",
    "a cat",
    "def return if not true",
    "the bird sings and the dog barks and the cat sat on the mat " * 3,
    "naïve café, 東京 42",
    "one two three",
    "red green blue",
    "  blanks at both ends  ",
]
LONG = "the bird sings and the dog barks " * 40


TABLES = [
    {"a": ["one", "two"], "b": ["red", "green"]},
    {"b": ["red", "green"], "a": ["one", "two"]},
    {"a": ["one"], "b": ["red"]},
    pd.DataFrame({"cat": [1, 2], "dog": [3.5, None]}),
    {"cat": ["sat on the mat"]},
    pd.DataFrame({name: [f"the {name} sings"] * 9 for name in ("cat", "dog", "bird", "mat")}),
]


RECORDS = [
    {"user": "ann", "tags": "red|green", "price": 1.5},
    {"user": "bob", "tags": "", "price": None},
    {"user": None, "tags": "red", "price": -2.0},
    {"user": "never seen", "tags": "red|red|blue", "price": 1e6},
    {"price": 1.5, "tags": "red|green", "user": "bob", "more": "is not looked at"},
]
FIELDS = [Field("user"), Field("tags", "multi", max_values=3), Field("price", "numeric")]


CODES = [
    "def add_one(x):\n    return x + 1\n",
    "class Box:\n    size = 3\n",
    "",
    "x = 1",
    "def broken(:",
    "for eachItem in range(10):\n    if eachItem % 2:\n        print(f'{eachItem} is odd')\n",
    "name = 'naïve café, 東京 42'",
    "lambda: None",
    "import os, sys",
    "try:\n    pass\nexcept ValueError:\n    raise\n",
]


IMAGES = list(np.random.default_rng(0).integers(0, 256, size=(6, 32, 32, 3), dtype=np.uint8))  # no Pillow is needed


class Member(NamedTuple):
    make: Callable[[pytest.FixtureRequest], Any]
    inputs: list[Any] = TEXTS
    long: Any = LONG


MORE_TEXTS = ["two birds sing on blue trees", "green dogs bark", "red mats", "three cats", "not one", "true or false"]


def tiny(kind, **options):
    return Member(lambda request: request.getfixturevalue("make_encoder")(kind, **options))


def of_concepts(request, kind, *weights):
    names = [f"concept {number}" for number in range(16)]
    return ConceptEncoder(request.getfixturevalue("make_encoder")("bert"), kind(names, *weights)).encoder


WEIGHT = np.random.default_rng(0).normal(size=(16, 32))

MEMBERS = {
    "all-MiniLM-L6-v2": Member(lambda request: request.getfixturevalue("default_encoder")),
    "bert": tiny("bert"),
    "modernbert": tiny("modernbert"),
    "llama": tiny("llama", unit=False),
    "distilbert": tiny("distilbert", unit=False),
    "nv-embed": Member(
        lambda request: nv_embed(
            str(request.getfixturevalue("checkpoint")("llama")),
            pooling=LatentAttentionPooling(
                32, num_latents=4, num_heads=2, head_dim=8, init="random", include_prompt=False
            ),
            max_seq_length=64,
            device="cpu",
        )
    ),
    "layer mix": Member(
        lambda request: with_pooling(request.getfixturevalue("make_encoder")("bert"), LayerMixPooling(32, 4))
    ),
    "prompt": Member(lambda request: prompt_encoder(request.getfixturevalue("make_encoder")("bert"), first_layer=0)),
    "static": Member(lambda request: static_encoder(request.getfixturevalue("make_encoder")("bert"))),
    "distilled": Member(
        lambda request: distill_static(request.getfixturevalue("make_encoder")("bert"), dim=16, sif=0.1)
    ),
    "tfidf": Member(lambda request: tfidf_lsa([*TEXTS, *MORE_TEXTS], dim=12)),
    "prototypes": Member(lambda request: of_concepts(request, PrototypeConcepts, WEIGHT)),
    "concepts": Member(lambda request: of_concepts(request, LinearConcepts, WEIGHT, np.zeros(16))),
    "code": Member(
        lambda request: code_encoder(
            train_code_vocabulary(CODES, 320, max_length=64), num_layers=3, dim=32, num_heads=4, device="cpu"
        ),
        CODES,
        CODES[5] * 20,
    ),
    "record": Member(
        lambda request: record_encoder(Vocabulary.fit(RECORDS[:4], FIELDS), dim=8),
        RECORDS,
        {"user": "ann", "tags": "red|" * 99, "price": 0.0},
    ),
    "image": Member(lambda request: conv_encoder(widths=(8, 16), dim=12, device="cpu"), IMAGES, IMAGES[-1]),
    "histograms": Member(lambda request: histogram_encoder(dim=12, width=16, device="cpu"), IMAGES, IMAGES[-1]),
    "vit": Member(lambda request: vit_encoder(num_layers=2, dim=12, device="cpu"), IMAGES, IMAGES[-1]),
    "dual": Member(
        lambda request: dual_encoder(
            conv_encoder(widths=(8, 16), dim=12, device="cpu"),
            request.getfixturevalue("make_encoder")("bert"),
            dim=16,
            device="cpu",
        ),
        [IMAGES[0], "a cat", IMAGES[1], TEXTS[3] + " sat", *TEXTS[5:8], IMAGES[2]],
        LONG,
    ),
    "table": Member(lambda request: table_encoder(request.getfixturevalue("make_encoder")("bert")), TABLES, TABLES[-1]),
    "table parts": Member(  # the first two tables differ in the order of columns alone, which it does not read
        lambda request: part_encoder(request.getfixturevalue("make_encoder")("bert")), TABLES[1:], TABLES[-1]
    ),
    "tapas": Member(lambda request: tapas_encoder(*request.getfixturevalue("tapas"), device="cpu"), TABLES, TABLES[-1]),
}


@pytest.fixture(scope="module", params=MEMBERS)
def member(request):
    return MEMBERS[request.param]


@pytest.fixture(scope="module")
def encoder(member, request):
    """Made once for all tests, so none may change it."""
    return member.make(request)


@pytest.fixture
def inputs(member):
    return member.inputs


@pytest.fixture
def texts(inputs):
    if not isinstance(inputs[0], str):
        pytest.skip("reads no text")
    return inputs


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def lengths_of(vectors):
    return np.linalg.norm(vectors, axis=-1)


def depth_of(encoder):
    """Its number of layers; None for an encoder without any, such as a table of word vectors."""
    try:
        return encoder.get_num_layers()
    except InputError:
        return None


# -- form ----------------------------------------------------------------------------------------------


def test_a_batch_gives_contiguous_float32_rows(encoder, inputs):
    vectors = encoder.encode(inputs)
    assert type(vectors) is np.ndarray
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert vectors.shape == (len(inputs), encoder.get_embedding_dimension())
    assert np.isfinite(vectors).all()


def test_one_input_gives_one_vector(encoder, inputs):
    vector = encoder.encode(inputs[0])
    assert vector.shape == (encoder.get_embedding_dimension(),)
    assert vector.dtype == np.float32
    assert vector.flags.c_contiguous
    np.testing.assert_array_equal(vector, encoder.encode([inputs[0]])[0])


@pytest.mark.parametrize("nothing", [[], (), np.array([], dtype=str), pd.Series([], dtype=object), iter(())])
def test_no_input_gives_no_rows(encoder, inputs, nothing):
    if not isinstance(nothing, list | tuple) and not isinstance(inputs[0], str):
        pytest.skip("one such container is one input")
    vectors = encoder.encode(nothing)
    assert vectors.shape == (0, encoder.get_embedding_dimension())
    assert vectors.dtype == np.float32


def test_no_input_gives_no_rows_at_every_depth_and_width(encoder):
    for layer in (0, 1) if depth_of(encoder) else ():
        assert encoder.encode([], num_layers=layer).shape == (0, encoder.get_embedding_dimension())
    assert encoder.encode([], truncate_dim=7).shape == (0, 7)
    assert encoder.encode([], normalize_embeddings=True).shape == (0, encoder.get_embedding_dimension())


def test_different_inputs_give_different_vectors(encoder, inputs):
    vectors = encoder.encode(inputs)
    for first, second in itertools.combinations(vectors, 2):
        assert np.abs(first - second).max() > 1e-3


# -- the same input, the same vector --------------------------------------------------------------------


def test_input_order_is_kept(encoder, inputs):
    order = np.random.default_rng(0).permutation(len(inputs))
    assert_close(encoder.encode([inputs[i] for i in order]), encoder.encode(inputs)[order])


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batch_size_does_not_change_vectors(encoder, inputs, batch_size):
    alone = np.stack([encoder.encode(value) for value in inputs])
    assert_close(encoder.encode(inputs, batch_size=batch_size), alone)


def test_padding_does_not_change_vectors(encoder, member):
    short = member.inputs[3]
    beside_a_long_one = encoder.encode([short, member.long], batch_size=1000)[0]
    assert_close(beside_a_long_one, encoder.encode(short))


def test_duplicates_get_equal_vectors(encoder, inputs):
    vectors = encoder.encode([*inputs, *inputs, inputs[0]])
    np.testing.assert_array_equal(vectors[: len(inputs)], vectors[len(inputs) : -1])
    np.testing.assert_array_equal(vectors[-1], vectors[0])


def test_encoding_twice_is_bit_equal(encoder, inputs):
    np.testing.assert_array_equal(encoder.encode(inputs), encoder.encode(inputs))


def test_eight_threads_get_bit_equal_results(encoder, inputs):
    expected = encoder.encode(inputs)
    results, barrier = [None] * 8, threading.Barrier(8)

    def work(number):
        barrier.wait()
        results[number] = encoder.encode(inputs)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_the_training_flag_does_not_change_vectors(encoder, inputs):
    expected = encoder.encode(inputs)
    encoder.train()
    found = encoder.encode(inputs)
    encoder.eval()
    np.testing.assert_array_equal(found, expected)


def test_vectors_are_those_of_sentence_transformers(encoder, texts):
    theirs = SentenceTransformer(modules=list(encoder), device="cpu")
    assert_close(encoder.encode(texts), theirs.encode(texts))


# -- width ---------------------------------------------------------------------------------------------


def test_truncation_keeps_a_prefix(encoder, inputs):
    full, short = encoder.encode(inputs), encoder.encode(inputs, truncate_dim=8)
    assert short.shape == (len(inputs), 8)
    assert short.flags.c_contiguous
    prefix = full[:, :8]
    if isinstance(encoder[-1], Normalize):
        assert_close(lengths_of(short), 1)
        prefix = prefix / lengths_of(prefix)[:, None]
    assert_close(short, prefix)


@pytest.mark.parametrize("dim", [5, None])
def test_truncation_comes_before_normalisation(encoder, inputs, dim):
    """What has no direction keeps length 0: a text without words, where words are all that is read."""
    has_direction = lengths_of(encoder.encode(inputs, truncate_dim=dim)) > 0
    assert all(has_direction[row] or (isinstance(value, str) and not value) for row, value in enumerate(inputs))
    assert_close(lengths_of(encoder.encode(inputs, truncate_dim=dim, normalize_embeddings=True)), has_direction)


def test_the_full_width_changes_nothing(encoder, inputs):
    assert_close(encoder.encode(inputs, truncate_dim=encoder.get_embedding_dimension()), encoder.encode(inputs))


@pytest.mark.parametrize("dim", [0, -1, 100_000, "8", 2.5])
def test_a_width_out_of_range_is_refused(encoder, inputs, dim):
    with pytest.raises(InputError, match="truncate_dim"):
        encoder.encode(inputs[:2], truncate_dim=dim)


# -- depth ---------------------------------------------------------------------------------------------


def test_every_depth_gives_its_own_vectors(encoder, inputs):
    depth = depth_of(encoder)
    if depth is None:
        pytest.skip("has no layers")
    by_layer = [encoder.encode(inputs[:3], num_layers=layer) for layer in range(depth + 1)]
    np.testing.assert_array_equal(by_layer[-1], encoder.encode(inputs[:3]))
    for shallow, deep in itertools.pairwise(by_layer):
        assert shallow.shape == deep.shape
        assert np.abs(shallow - deep).max() > 1e-3


@pytest.mark.parametrize("num_layers", [-1, 99, "2", 2.5])
def test_a_depth_out_of_range_is_refused(encoder, inputs, num_layers):
    with pytest.raises(InputError, match="num_layers"):
        encoder.encode(inputs[:1], num_layers=num_layers)
    with pytest.raises(InputError, match="num_layers"):
        encoder.encode([], num_layers=num_layers)


@pytest.mark.parametrize("batch_size", [0, -1, "8", 2.5, None])
def test_a_batch_size_that_is_no_positive_integer_is_refused(encoder, inputs, batch_size):
    with pytest.raises(InputError, match="batch_size"):
        encoder.encode(inputs[:1], batch_size=batch_size)
    with pytest.raises(InputError, match="batch_size"):
        encoder.encode([], batch_size=batch_size)


def test_integers_of_numpy_count_as_integers(encoder, inputs):
    depth = {"num_layers": 1} if depth_of(encoder) else {}
    numbers = {"batch_size": 4, "truncate_dim": 4, **depth}
    found = encoder.encode(inputs[:2], **{name: np.int64(number) for name, number in numbers.items()})
    assert_close(found, encoder.encode(inputs[:2], **numbers))


# -- containers of text --------------------------------------------------------------------------------

CONTAINERS = {
    "tuple": tuple,
    "generator": iter,
    "numpy str": np.array,
    "numpy object": lambda texts: np.array(texts, dtype=object),
    "list of numpy str": lambda texts: [np.str_(text) for text in texts],
    "series": pd.Series,
    "series with another index": lambda texts: pd.Series(texts, index=range(len(texts), 0, -1)),
    "dictionary values": lambda texts: dict(enumerate(texts)).values(),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_batch_may_come_in_any_container(encoder, texts, container):
    few = texts[:4]
    np.testing.assert_array_equal(encoder.encode(CONTAINERS[container](few)), encoder.encode(few))


# -- prompts -------------------------------------------------------------------------------------------


def test_queries_and_documents_get_their_prompts(encoder, texts):
    encoder = copy.deepcopy(encoder)
    for module in encoder:
        if hasattr(module, "include_prompt"):
            module.include_prompt = True
    encoder.prompts = {"query": "cat\n", "document": "dog\n"}
    assert_close(encoder.encode_query(texts), encoder.encode(["cat\n" + text for text in texts]))
    assert_close(encoder.encode_document(texts), encoder.encode(["dog\n" + text for text in texts]))
    assert_close(encoder.encode(texts, prompt_name="query"), encoder.encode_query(texts))
    assert_close(encoder.encode(texts, prompt="dog\n"), encoder.encode_document(texts))
    options = {"truncate_dim": 4, **({"num_layers": 1} if depth_of(encoder) else {})}
    assert_close(encoder.encode_query(iter(texts), **options), encoder.encode_query(texts, **options))
    assert np.abs(encoder.encode_query(texts) - encoder.encode_document(texts)).max() > 1e-3


def test_prompts_are_those_of_sentence_transformers(encoder, texts):
    prompts = {"query": "the cat and ", "document": "the dog and "}
    theirs = SentenceTransformer(modules=list(encoder), device="cpu", prompts=prompts)
    encoder = copy.deepcopy(encoder)
    encoder.prompts = prompts
    assert_close(encoder.encode_query(texts), theirs.encode_query(texts))
    assert_close(encoder.encode_document(texts), theirs.encode_document(texts))


# -- copies --------------------------------------------------------------------------------------------


def test_a_saved_encoder_reloads_bit_equal(encoder, inputs, tmp_path):
    encoder.save(tmp_path / "model")
    reloaded = ek.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(reloaded.encode(inputs), encoder.encode(inputs))
    assert reloaded.fingerprint == encoder.fingerprint


def test_a_saved_encoder_opens_in_sentence_transformers(encoder, texts, tmp_path):
    if not all(type(module).__module__.startswith("sentence_transformers.") for module in encoder):
        pytest.skip("holds a module of ours, which sentence-transformers opens only with trust_remote_code")
    encoder.save(tmp_path / "model")
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert_close(theirs.encode(texts), encoder.encode(texts))


def test_a_copy_has_the_same_fingerprint_until_a_weight_changes(encoder, inputs):
    twin = copy.deepcopy(encoder)
    assert twin.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(twin.encode(inputs), encoder.encode(inputs))
    weight = next(parameter for parameter in twin.parameters() if parameter.ndim == 2)
    with torch.no_grad():
        weight[0, 0] += 1e-3
    assert twin.fingerprint != encoder.fingerprint
