"""ADAM, later called APER: tune an encoder on the first task alone, and keep what it was beside what it became."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sentence_transformers.base.modules import Normalize
from torch import nn

from embedkit.encoders.encoder import Encoder
from embedkit.encoders.lora import LoRA
from embedkit.errors import InputError
from embedkit.losses.arc_face import ArcFaceLoss
from embedkit.modules.joined_tower import JoinedTower
from embedkit.training.fit import fit

_SCALE = 16.0


def adam(
    encoder: Encoder,
    inputs: Sequence[Any],
    labels: ArrayLike,
    *,
    loss: nn.Module | None = None,
    lora: LoRA | None = LoRA(),  # noqa: B008 (it is frozen)
    learning_rate: float = 5e-4,
    **options: Any,
) -> Encoder:
    """Adapt an encoder to the first task of many, for a head of class means that all tasks then go to.

        vector(x) = [ encoder(x) / ‖·‖ ; adapted(x) / ‖·‖ ] / √2

    `adapted` is a copy of the encoder, tuned on the first task's classes. What later tasks need and the first does not
    is still in the first half. After this nothing is trained but a `PrototypeClassifier`, one mean a class. Not the
    optimiser of the same name.

    Args:
        encoder: What is adapted; it stays as it is, and its modules are shared with the result.
        inputs: The first task's, as the encoder reads them.
        labels: The class of each, (n,), of at least two.
        loss: Taken on embeddings and codes 0 … classes − 1, which follow the order of the sorted labels; None for a
            classifier by cosines (`ArcFaceLoss` without its margin), whose weights are thrown away.
        lora: Low-rank adapters that are trained and added to the copy's weights; None trains all of them, which
            forgets more.
        learning_rate: Highest learning rate. Weights of the loss learn at 20 times that.
        **options: As in `fit`: `epochs`, `batch_size`, `max_steps`, `seed`, `score`, …

    Returns:
        An encoder twice as wide, whose vectors have length 1. It encodes with both networks, and takes twice as long.

    Raises:
        InputError: There is not one label for each input, or one class only, or as in `fit`.
        MissingExtraError: `lora` without peft.

    Example:
        >>> import embedkit as ek
        >>> texts, labels = ["a cat", "a dog", "a tax", "a law"], ["pet", "pet", "office", "office"]
        >>> encoder = adam(ek.load(), texts, labels, max_steps=1)
        >>> encoder.encode("a fee").shape
        (768,)

    Reference:
        D.-W. Zhou et al., "Revisiting Class-Incremental Learning with Pre-Trained Models: Generalizability and
        Adaptivity are All You Need", arXiv 2303.07338, 2023, section 4 (AdaptMerge, ADAM; APER in the journal).

    Deviations:
        The authors join the two vectors as they come, so that the longer weighs more; here they have equal length.
        They tune with their own adapters, prompts or scales; here with LoRA.
    """
    rows, given = list(inputs), np.asarray(labels)
    if given.shape != (len(rows),):
        raise InputError(f"labels must be one for each of {len(rows)} inputs; received shape {given.shape}")
    classes, codes = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"labels must be of two classes or more, which are told apart; received {len(classes)}")
    width = int(encoder.get_embedding_dimension() or 0)
    loss = loss or ArcFaceLoss(width, len(classes), margin=0.0, scale=_SCALE)
    rates = {"^loss": 20 * learning_rate} if any(True for _ in loss.parameters()) else {}
    adapted = copy.deepcopy(encoder)
    examples = {"input": rows, "label": codes.tolist()}
    options = {"learning_rate_mapping": rates, **options}
    fit(adapted, examples, loss, lora=lora, learning_rate=learning_rate, **options)
    return Encoder(
        [*encoder, JoinedTower({"tower": [*adapted]}, width=width), Normalize()],
        prompts=dict(encoder.prompts),
        default_prompt_name=encoder.default_prompt_name,
        similarity_fn_name=encoder.similarity_fn_name,
        device=str(encoder.device),
    ).eval()
