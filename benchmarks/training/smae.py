"""Does SMAE before Starbucks help small sizes, in a BERT of 6 layers x 256 that starts from nothing?

Both arms are trained by Starbucks on STS-B train with equal steps; one reads sentences first, by SMAE. Its sentences
are the training texts of STS-B, CLINC150, banking77 and TREC; no test text is among them. The vocabulary is WordPiece
on the same texts. SMAE reads 100 batches of 32 sentences and SRL 90 of pairs, a thousandth of what a BERT is made of:
whether the small sizes gain is asked here, not how good they become. Floor: the network as it was drawn. The paper's
gain is that of a BERT-base that was pre-trained.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import embedkit as ek
from benchmarks.data import banking77, clinc150, stsb, trec
from benchmarks.peer import on_cores
from benchmarks.results import Row
from embedkit.training.smae import smae
from embedkit.training.starbucks import starbucks, starbucks_pairs

LAYERS, DIM, VOCABULARY, WINDOW = 6, 256, 4000, 32
SMAE_STEPS, SRL_STEPS, BATCH = 100, 90, 32
PAIRS = starbucks_pairs(LAYERS, DIM)
SEEDS = (0, 1, 2)
ARMS = ("SMAE, then SRL", "SRL")
PAPER = {1: 1.48, 2: 2.98, 3: 2.96, 4: 1.48, 5: 0.59, 6: -0.19}
"""Gain of SMAE in points of the STS average at the paper's six sizes, smallest first (its table A1)."""


def run(smoke: bool) -> Iterator[Row]:
    """Spearman on STS-B test of each size, with SMAE, without, and untrained."""
    jobs = [(arm, seed) for arm in ARMS for seed in (SEEDS[:1] if smoke else SEEDS)]
    work = partial(_scores, smoke=smoke)
    found = dict(zip(jobs, on_cores(work, jobs), strict=True))
    for place, (layers, dim) in enumerate(PAIRS):
        with_it, without = ([found[job][place + 1] for job in jobs if job[0] == arm] for arm in ARMS)
        floor = float(np.mean([each[0][place] for each in found.values()]))
        yield Row(
            method="smae",
            variant=f"then starbucks; baseline: starbucks alone; paper: its gain there, {PAPER[layers]:+.2f}",
            dataset=f"STS-B test, {layers} layers x {dim}, BERT from scratch",
            metric="Spearman x 100",
            value=round(float(np.mean(with_it)), 2),
            low=round(min(with_it), 2),
            high=round(max(with_it), 2),
            seeds=len(with_it),
            baseline=round(float(np.mean(without)), 2),
            floor=round(floor, 2),
        )


def _scores(job: tuple[str, int], *, smoke: bool) -> list[Any]:
    """Scores of the untrained sizes, then the score of each size once trained."""
    arm, seed = job
    train = list(zip(*stsb("train"), strict=True))[: 16 if smoke else None]
    texts = [text for first, second, _ in train for text in (first, second)]
    if not smoke:
        texts += [text for read in (clinc150, banking77, trec) for text in read("train")[0]]
    texts = list(dict.fromkeys(texts))
    encoder = _from_scratch(texts, seed)
    untrained = _by_size(encoder, smoke)
    options: dict[str, Any] = {"batch_size": BATCH, "learning_rate": 5e-4, "seed": seed, "show_progress_bar": False}
    if arm == ARMS[0]:
        smae(encoder, texts, PAIRS, max_steps=1 if smoke else SMAE_STEPS, **options)
    starbucks(encoder, train, pairs=PAIRS, max_steps=1 if smoke else SRL_STEPS, **options)
    return [untrained, *_by_size(encoder, smoke)]


def _by_size(encoder: ek.Encoder, smoke: bool) -> list[float]:
    first, second, gold = stsb("test")
    count = 16 if smoke else len(gold)
    layers, dims = zip(*PAIRS, strict=True)
    one, two = (
        encoder.encode_grid(texts[:count], layers, dims, normalize_embeddings=True) for texts in (first, second)
    )
    return [100 * float(spearmanr((one[size] * two[size]).sum(axis=1), gold[:count]).statistic) for size in PAIRS]


def _from_scratch(texts: list[str], seed: int) -> ek.Encoder:
    rust = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer()
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    rust.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    )
    rust.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=rust,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=WINDOW,
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=4 * DIM,
        max_position_embeddings=WINDOW,
        pad_token_id=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(str(Path(folder)), max_seq_length=WINDOW)
    return ek.Encoder([transformer, Pooling(DIM, "mean")], device="cpu")
