"""Fine-tuning on a CPU: is `fit` faster than sentence-transformers' trainer, and does bfloat16 pay?

Pairs of code search from a few modules of the standard library, 32 a batch and cut to 64 tokens, InfoNCE. The peer is
sentence-transformers' own trainer with its MultipleNegativesRankingLoss, the same options and the same texts. All times
are of whole calls, turn by turn, on the threads of the machine; above 1 the first is faster. Products in bfloat16 are
compared with the same training in float32, of all-MiniLM-L6-v2 and of a BERT of 2 layers x 128 with its tokenizer. They
can gain only on processors that have them, as the machine of the stored rows does (AMX).
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel, PrinterCallback

import embedkit as ek
from benchmarks.functions import corpus_functions
from benchmarks.peer import default_folder, ratio_row, speed_ratios
from benchmarks.results import Row
from embedkit.encoders.code.functions import search_pairs
from embedkit.losses import InfoNCELoss

STEPS, BATCH, TOKENS, TURNS = 6, 32, 64, 5
PEER = "sentence-transformers' trainer"

Pairs = list[tuple[str, str]]


def run(smoke: bool) -> Iterator[Row]:
    """Ratios of times to the peer, and of float32 to bfloat16."""
    steps, turns, batch = (1, 1, 2) if smoke else (STEPS, TURNS, BATCH)
    functions = [*corpus_functions("train", smoke=True), *corpus_functions("library", smoke=True)]
    pairs = search_pairs(functions)[: steps * batch]
    options: dict[str, Any] = {"max_steps": steps, "batch_size": batch}
    for variant, ours, theirs in _compared(pairs, options):
        yield ratio_row(
            speed_ratios(ours, theirs, turns),
            turns,
            method="fit",
            variant=variant,
            dataset=f"code search, {batch} a batch",
            metric="times faster, training",
        )


def _compared(pairs: Pairs, options: dict[str, Any]) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    wide, narrow = ek.load(device="cpu"), _narrow()
    peer = SentenceTransformer(str(default_folder()), device="cpu")
    for encoder in (wide, narrow, peer):
        encoder.max_seq_length = TOKENS
    plain, theirs = partial(_ours, wide, pairs, options), partial(_theirs, peer, pairs, options)
    yield f"MiniLM, float32; baseline: {PEER}", plain, theirs
    yield f"MiniLM, bfloat16; baseline: {PEER}, bfloat16", partial(plain, bf16=True), partial(theirs, bf16=True)
    yield "MiniLM, bfloat16; baseline: float32", partial(plain, bf16=True), plain
    small = partial(_ours, narrow, pairs, options)
    yield "BERT 2 x 128, bfloat16; baseline: float32", partial(small, bf16=True), small


def _narrow() -> ek.Encoder:
    """A BERT of 2 layers x 128 as it was drawn, which reads what the default model reads."""
    tokenizer = ek.load(device="cpu").tokenizer
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    }
    with tempfile.TemporaryDirectory() as folder:
        BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return ek.Encoder([Transformer(folder), Pooling(sizes["hidden_size"], "mean")], device="cpu")


def _ours(encoder: ek.Encoder, pairs: Pairs, options: dict[str, Any], *, bf16: bool = False) -> None:
    ek.fit(encoder, pairs, InfoNCELoss(), show_progress_bar=False, bf16=bf16, **options)


def _theirs(model: SentenceTransformer, pairs: Pairs, options: dict[str, Any], *, bf16: bool = False) -> None:
    anchors, positives = zip(*pairs, strict=True)
    arguments = SentenceTransformerTrainingArguments(
        max_steps=options["max_steps"],
        per_device_train_batch_size=options["batch_size"],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
        bf16=bf16,
    )
    data = Dataset.from_dict({"anchor": anchors, "positive": positives})
    loss = MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
