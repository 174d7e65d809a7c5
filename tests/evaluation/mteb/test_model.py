import numpy as np
import pytest

mteb = pytest.importorskip("mteb", reason="the extra mteb is not installed")

from mteb.results import TaskResult  # noqa: E402
from mteb.types import PromptType  # noqa: E402

from embedkit.encoders.encoder import Encoder  # noqa: E402
from embedkit.encoders.image import conv_encoder, dual_encoder  # noqa: E402
from embedkit.encoders.table.encoder import table_encoder  # noqa: E402
from embedkit.errors import InputError, ModelError  # noqa: E402
from embedkit.evaluation.mteb.model import EncoderModel, modalities_of, reads, revision_of  # noqa: E402


def static(tokenizer):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    return Encoder([StaticEmbedding(tokenizer._tokenizer, embedding_dim=16)], device="cpu")


def seeing(kind, make_encoder):
    pytest.importorskip("PIL.Image", reason="the extra image is not installed")
    pictures = conv_encoder(widths=(4, 8), dim=6, device="cpu")
    return pictures if kind == "image" else dual_encoder(pictures, make_encoder("bert"), dim=12, device="cpu")


KINDS = ["bert", "modernbert", "llama", "distilbert", "static", "image", "dual"]
LEAST = {"image": 5, "dual": 40}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def test_mocks_own_contract_holds_for_every_kind_of_encoder(kind, make_encoder, tokenizer):
    if kind in LEAST:
        encoder = seeing(kind, make_encoder)
    else:
        encoder = static(tokenizer) if kind == "static" else make_encoder(kind)
    results = mteb.mock_run(EncoderModel(encoder, kind)).task_results
    passed = [name for name, result in results.items() if isinstance(result, TaskResult)]
    failed = {name: result for name, result in results.items() if result is not None and name not in passed}
    assert not failed
    assert len(passed) >= LEAST.get(kind, 28)


def test_the_meta_names_the_model_by_its_content_and_its_options(make_encoder):
    encoder = make_encoder("bert")
    meta = EncoderModel(encoder, "mine", num_layers=2, truncate_dim=8, prompts={"query": "q: "}).mteb_model_meta
    assert meta.name == "local/mine"
    assert meta.revision == encoder.fingerprint[:40]
    assert meta.experiment_kwargs == {"num_layers": 2, "truncate_dim": 8, "prompts": {"query": "q: "}}
    assert meta.embed_dim == 8
    assert EncoderModel(encoder, "org/mine").mteb_model_meta.experiment_kwargs is None


def test_another_weight_another_revision(make_encoder):
    import torch

    encoder = make_encoder("bert")
    before = revision_of(encoder)
    with torch.no_grad():
        next(encoder.parameters()).add_(1)
    assert revision_of(encoder) != before


@pytest.mark.parametrize(
    "habit",
    [{"prompts": {"query": "q: "}}, {"truncate_dim": 8}, {"similarity_fn_name": "dot"}],
    ids=lambda habit: next(iter(habit)),
)
def test_what_an_encoder_does_by_itself_is_part_of_its_revision(make_encoder, habit):
    assert revision_of(make_encoder("bert", **habit)) != revision_of(make_encoder("bert"))
    assert revision_of(make_encoder("bert", **habit)) == revision_of(make_encoder("bert", **habit))


def test_a_sentence_transformer_has_a_revision_too(make_encoder):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(modules=list(make_encoder("bert")), device="cpu")
    assert len(revision_of(plain)) == 40


def test_what_has_no_fingerprint_needs_a_revision(words):
    encoder = words()
    del encoder.fingerprint
    with pytest.raises(InputError, match="takes it as revision="):
        EncoderModel(encoder, "mine")
    assert EncoderModel(encoder, "mine", revision="1").mteb_model_meta.revision == "1"


class Loader(list):
    """What mteb hands over: batches that are dictionaries of columns."""


def loader(texts, size=2):
    return Loader({"text": texts[i : i + size]} for i in range(0, len(texts), size))


def encode(model, texts, task, role=None):
    return model.encode(
        loader(texts), task_metadata=task.metadata, hf_split="test", hf_subset="default", prompt_type=role
    )


def test_depth_and_width_reach_the_encoder(make_encoder, make_task):
    encoder, texts = make_encoder("bert"), ["a cat", "the dog barks", "one"]
    vectors = encode(EncoderModel(encoder, "mine", num_layers=2, truncate_dim=8), texts, make_task())
    np.testing.assert_array_equal(vectors, encoder.encode(texts, num_layers=2, truncate_dim=8))


@pytest.mark.parametrize(
    ("prompts", "role", "expected"),
    [
        ({"query": "red "}, PromptType.query, "red "),
        ({"query": "red "}, PromptType.document, None),
        ({"query": "red "}, None, None),
        ({"STS": "blue ", "query": "red "}, PromptType.query, "blue "),
        ({"TinySts": "green ", "STS": "blue "}, None, "green "),
        ({"TinySts-query": "one ", "TinySts": "green "}, PromptType.query, "one "),
    ],
)
def test_prompts_go_by_task_then_kind_then_role(make_encoder, make_task, prompts, role, expected):
    encoder, texts = make_encoder("bert"), ["a cat", "the dog barks"]
    vectors = encode(EncoderModel(encoder, "mine", prompts=prompts), texts, make_task(), role)
    np.testing.assert_array_equal(vectors, encoder.encode(texts, prompt=expected))


def test_the_encoders_own_prompts_are_used_and_given_ones_win(make_encoder, make_task):
    encoder, texts = make_encoder("bert", prompts={"query": "red "}), ["a cat", "the dog barks"]
    own = encode(EncoderModel(encoder, "mine"), texts, make_task(), PromptType.query)
    np.testing.assert_array_equal(own, encoder.encode(texts, prompt="red "))
    given = encode(EncoderModel(encoder, "mine", prompts={"query": "blue "}), texts, make_task(), PromptType.query)
    np.testing.assert_array_equal(given, encoder.encode(texts, prompt="blue "))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda vectors: vectors * np.nan, "'a cat' has NaN or infinity"),
        (lambda vectors: vectors[:-1], r"\(3, 64\); it gave shape \(2, 64\)"),
        (lambda vectors: vectors[0], "it gave shape"),
    ],
)
def test_vectors_that_are_none_are_told(words, make_task, wrong, said):
    class Wrong(words):
        def encode(self, inputs, **options):
            return wrong(super().encode(inputs))

    with pytest.raises(ModelError, match=said):
        encode(EncoderModel(Wrong(), "wrong"), ["a cat", "b", "c"], make_task())


def test_the_encoder_is_asked_what_it_reads(make_encoder, words):
    tables = table_encoder(make_encoder("bert"))
    assert modalities_of(make_encoder("bert")) == ["text"]
    assert modalities_of(tables) == []
    assert modalities_of(words()) == ["text"]
    assert reads(tables, {"a": ["1"]})
    assert not reads(tables, "text")


def test_an_encoder_gets_the_thing_behind_a_text_where_it_reads_it(make_encoder, make_task):
    native = {"cat: one, two": {"cat": ["one", "two"]}, "dog: red": {"dog": ["red"]}}
    tables, texts = table_encoder(make_encoder("bert")), make_encoder("bert")
    for encoder, expected in ((tables, list(native.values())), (texts, list(native))):
        model = EncoderModel(encoder, "mine")
        with model.reading(native):
            np.testing.assert_array_equal(encode(model, list(native), make_task()), encoder.encode(expected))


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (lambda rows: np.ones((len(rows), 5)), r"\(3, 64\); it gave shape \(3, 5\)"),
        (lambda rows: [[1.0] * (n + 1) for n in range(len(rows))], "it gave no array"),
    ],
)
def test_vectors_of_another_width_are_refused(words, make_task, gives, said):
    encoder = words()
    encoder.encode = lambda rows, **options: gives(rows)
    with pytest.raises(ModelError, match=said):
        encode(EncoderModel(encoder, "mine"), ["a cat", "the dog barks", "one"], make_task())
