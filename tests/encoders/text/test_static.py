"""Static encoders: the oracles are sums over tokens in plain loops, and scikit-learn's PCA."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from sklearn.decomposition import PCA
from tokenizers import Tokenizer, models, pre_tokenizers
from tqdm import tqdm

import embedkit as ek
from embedkit import Encoder
from embedkit.encoders.text.static import distill_static, static_encoder
from embedkit.errors import InputError

TEXTS = ["a cat sat on the mat", "the dog barks", "", "東京", "one two three"]
LEFT_OUT = {0, 2, 3, 4, 1}  # [PAD], [CLS], [SEP], [MASK], [UNK] of the tests' tokenizer


def ids_of(encoder, text):
    return encoder[0].tokenizer(text, add_special_tokens=False)["input_ids"]


def means(table, encoder, texts=TEXTS):
    """The mean of the rows of each text's tokens, in float64."""
    rows = [[table[token].astype(np.float64) for token in ids_of(encoder, text)] for text in texts]
    return np.array([np.mean(row, axis=0) if row else np.zeros(table.shape[1]) for row in rows])


def alone(encoder):
    """What the unnormalised encoder gives for every token by itself, one forward pass a token."""
    transformer, pooling = encoder[0], encoder[1]
    found = {}
    for token in range(len(transformer.tokenizer)):
        features = {"input_ids": torch.tensor([[2, token, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
        with torch.inference_mode():
            found[token] = pooling(transformer(features))["sentence_embedding"][0].numpy()
    return found


# -- the raw table -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "modernbert", "llama", "distilbert"])
def test_a_text_is_the_mean_of_its_tokens_rows(make_encoder, kind):
    encoder = make_encoder(kind)
    table = encoder[0].model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_allclose(static_encoder(encoder).encode(TEXTS), means(table, encoder), rtol=0, atol=1e-6)


def test_worked_by_hand(make_encoder):
    encoder = make_encoder()
    with torch.no_grad():
        table = encoder[0].model.get_input_embeddings().weight
        table.zero_()
        cat, dog = ids_of(encoder, "cat dog")
        table[cat, 0], table[dog, 1] = 3.0, 6.0
    found = static_encoder(encoder).encode("cat dog cat")
    np.testing.assert_allclose(found[:3], [2.0, 2.0, 0.0])


def test_order_does_not_matter_and_texts_add_up(make_encoder):
    encoder = make_encoder()
    static = static_encoder(encoder)
    one, other, both, turned = static.encode(["a cat sat", "the", "a cat sat the", "the sat cat a"])
    np.testing.assert_allclose(both, (3 * one + other) / 4, rtol=0, atol=1e-6)
    np.testing.assert_allclose(turned, both, rtol=0, atol=1e-6)


def test_it_is_neither_the_first_layer_nor_the_last(make_encoder):
    encoder = make_encoder(unit=False)
    static = static_encoder(encoder).encode(TEXTS)
    for layer in (0, 4):
        assert np.abs(static - encoder.encode(TEXTS, num_layers=layer)).max() > 1e-2


def test_the_model_and_the_table_do_not_share_memory(make_encoder):
    encoder = make_encoder()
    static = static_encoder(encoder)
    before = static.encode(TEXTS)
    with torch.no_grad():
        encoder[0].model.get_input_embeddings().weight.mul_(2)
    encoder[0].tokenizer(["a", "a b"], padding="max_length", max_length=9, truncation=True)
    np.testing.assert_array_equal(static.encode(TEXTS), before)


def test_the_window_does_not_apply(make_encoder):
    encoder = make_encoder()
    static = static_encoder(encoder)
    np.testing.assert_allclose(static.encode("cat " * 500), static.encode("cat"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_without_tokens_is_zero_and_never_nan(make_encoder, text):
    encoder = make_encoder()
    for static in (static_encoder(encoder), distill_static(encoder, dim=4)):
        assert not static.encode(text).any()
        assert not static.encode([text, "cat"], normalize_embeddings=True, truncate_dim=3)[0].any()
        assert not static.encode([text, text]).any()


@pytest.mark.parametrize("make", [static_encoder, distill_static])
def test_the_folder_opens_in_sentence_transformers(make_encoder, tmp_path, make):
    options = {} if make is static_encoder else {"dim": 8}
    static = make(make_encoder(), **options)
    static.save(tmp_path / "model")
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert type(theirs[0]) is StaticEmbedding
    np.testing.assert_allclose(theirs.encode(TEXTS), static.encode(TEXTS), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ek.load(tmp_path / "model", device="cpu").encode(TEXTS), static.encode(TEXTS))


# -- distilled -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_every_token_alone_reduced_and_weighted(make_encoder, kind):
    encoder = make_encoder(kind)
    vectors = alone(encoder)
    kept = [token for token in vectors if token not in LEFT_OUT]
    reduced = PCA(8, random_state=0).fit_transform(np.array([vectors[token] for token in kept], dtype=np.float64))
    shares = np.array([1 / (rank + 2) for rank in range(len(kept))])
    shares /= shares.sum()
    table = np.zeros((len(vectors), 8))
    for token, row, share in zip(kept, reduced, shares, strict=True):
        table[token] = row * 1e-2 / (1e-2 + share)
    found = distill_static(encoder, dim=8, sif=1e-2)[0].embedding.weight.detach().numpy()
    signs = np.sign((found * table).sum(axis=0))  # a component may point either way
    np.testing.assert_allclose(found * signs, table, rtol=0, atol=2e-5)
    np.testing.assert_allclose(
        distill_static(encoder, dim=8, sif=1e-2).encode(TEXTS), means(found, encoder), rtol=0, atol=1e-6
    )


def test_full_width_keeps_all_inner_products_of_centred_vectors(make_encoder):
    encoder = make_encoder()
    vectors = alone(encoder)
    kept = [token for token in vectors if token not in LEFT_OUT]
    centred = np.array([vectors[token] for token in kept], dtype=np.float64)
    centred -= centred.mean(axis=0)
    found = distill_static(encoder, dim=32, sif=None)[0].embedding.weight.detach().numpy()[kept]
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, rtol=0, atol=1e-4)


def test_weights_are_worked_by_hand_from_the_counts_of_a_corpus(make_encoder):
    encoder = make_encoder()
    plain = distill_static(encoder, dim=4, sif=None)[0].embedding.weight.detach().numpy()
    found = distill_static(encoder, dim=4, sif=0.5, corpus=["cat cat the", "", "東京"])[0].embedding.weight
    (cat, the, dog) = (ids_of(encoder, word)[0] for word in ("cat", "the", "dog"))
    for token, weight in ((cat, 0.5 / (0.5 + 2 / 3)), (the, 0.5 / (0.5 + 1 / 3)), (dog, 1.0)):
        np.testing.assert_allclose(found[token].detach().numpy(), plain[token] * weight, rtol=1e-5, atol=1e-7)


def test_a_large_constant_weighs_all_alike(make_encoder):
    encoder = make_encoder()
    np.testing.assert_allclose(
        distill_static(encoder, dim=4, sif=1e9).encode(TEXTS),
        distill_static(encoder, dim=4, sif=None).encode(TEXTS),
        rtol=1e-6,
        atol=1e-7,
    )


def test_the_order_of_the_vocabulary_counts_only_without_a_corpus(make_encoder):
    encoder = make_encoder()
    first, last = ids_of(encoder, "a")[0], len(encoder[0].tokenizer) - 1
    plain = distill_static(encoder, dim=4, sif=None)[0].embedding.weight.detach().numpy()
    ranked = distill_static(encoder, dim=4)[0].embedding.weight.detach().numpy()
    ratio = np.linalg.norm(ranked, axis=1)[[first, last]] / np.linalg.norm(plain, axis=1)[[first, last]]
    assert ratio[0] < ratio[1] / 5
    counted = distill_static(encoder, dim=4, corpus=["barks"])[0].embedding.weight.detach().numpy()
    np.testing.assert_allclose(counted[[first, last]], plain[[first, last]], rtol=1e-6)


def test_unused_places_and_special_tokens_are_zero_and_have_no_rank(tmp_path):
    import transformers as hf

    words = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[unused1]", "cat", "dog", "red", "mat"]
    rust = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=rust, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    hf.BertModel(hf.BertConfig(vocab_size=10, **small)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = Encoder([Transformer(str(tmp_path)), Pooling(8, "mean")], device="cpu")
    table = {sif: distill_static(encoder, dim=4, sif=sif)[0].embedding.weight.detach().numpy() for sif in (None, 0.1)}
    assert np.flatnonzero(table[None].any(axis=1)).tolist() == [6, 7, 8, 9]
    shares = np.array([1 / 2, 1 / 3, 1 / 4, 1 / 5]) / (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5)
    np.testing.assert_allclose(table[0.1][6:], table[None][6:] * (0.1 / (0.1 + shares))[:, None], rtol=1e-5)


def test_progress_counts_the_vocabulary(make_encoder, monkeypatch):
    bars = set()

    class Bar(tqdm):
        def close(self):
            bars.add((self.n, self.total))

    monkeypatch.setattr("embedkit.encoders.encoder.tqdm", Bar)
    encoder = make_encoder()
    distill_static(encoder, dim=4, show_progress_bar=True)
    count = len(encoder[0].tokenizer) - len(LEFT_OUT)
    assert bars == {(count, count)}


def test_the_model_is_as_it_was(make_encoder):
    encoder = make_encoder()
    vectors, version = encoder.encode(TEXTS), encoder.fingerprint
    distill_static(encoder, dim=4)
    assert encoder.fingerprint == version
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)


@pytest.mark.parametrize("dim", [0, -1, 33, 2.0, "8", True])
def test_a_width_out_of_range_is_refused(make_encoder, dim):
    with pytest.raises(InputError, match="dim must be between 1 and 32"):
        distill_static(make_encoder(), dim=dim)


@pytest.mark.parametrize("sif", [0, -1.0, float("inf"), float("nan"), "1e-4"])
def test_a_weight_that_is_none_is_refused(make_encoder, sif):
    with pytest.raises(InputError, match="sif must be a number above 0"):
        distill_static(make_encoder(), dim=4, sif=sif)


def test_a_corpus_that_says_nothing_is_refused(make_encoder):
    for corpus in ([], [""], ["東京"]):
        with pytest.raises(InputError, match="corpus must hold texts with known tokens"):
            distill_static(make_encoder(), dim=4, corpus=corpus)
    with pytest.raises(InputError, match=r"texts\[1\] must be str"):
        distill_static(make_encoder(), dim=4, corpus=["a", None])


def test_an_encoder_without_a_transformer_is_refused(make_encoder, tokenizer):
    without = Encoder([StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    for make in (static_encoder, distill_static):
        with pytest.raises(InputError, match="begins with a text transformer"):
            make(without)


def test_a_table_smaller_than_its_vocabulary_is_refused(make_encoder):
    encoder = make_encoder()
    encoder[0].tokenizer.add_tokens(["unheard"])
    with pytest.raises(InputError, match="the table must have a row a token"):
        static_encoder(Encoder([encoder[0], Pooling(32, "mean")], device="cpu"))


def test_the_default_model(default_encoder):
    static = static_encoder(default_encoder)
    cat, kitten, tax = static.encode(["a cat", "a kitten", "income tax"], normalize_embeddings=True)
    assert cat @ kitten > cat @ tax
