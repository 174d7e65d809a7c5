"""NV-Embed's two stages: retrieval against the whole batch, then everything, each row against its own negatives."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import concatenate_datasets

from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.training.examples import LABELS, Examples, as_dataset
from embedkit.training.fit import Training, fit


@dataclass(frozen=True)
class TwoStages:
    """What the two stages did.

    Attributes:
        first: On retrieval, other rows of the batch serving as negatives.
        second: On all data blended, each row with its own negatives.
    """

    first: Training
    second: Training


def nv_embed_two_stage(
    encoder: Encoder,
    retrieval: Examples,
    other: Examples,
    *,
    temperature: float = 0.05,
    learning_rates: tuple[float, float] = (2e-5, 1.5e-5),
    instruction: str | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    **options: Any,
) -> TwoStages:
    """Train an encoder in place: first retrieval, then retrieval blended with all else.

    In data of classes, other rows of a batch are often of the anchor's own class; so the second stage does without
    them as negatives. `mine_hard_negatives` and `examples_of_classes` make such rows.

    Args:
        encoder: Such as `embedkit.encoders.text.nv_embed` gives.
        retrieval: Rows (query, passage, negative, …).
        other: Rows of the same number of columns, from classes, clusters and graded pairs.
        temperature: Of both stages' InfoNCE.
        learning_rates: Of the first and the second stage.
        instruction: Put before the first column of every row, as a prompt.
        folder: Where the checkpoints of both stages are kept; a call like the one that was cut short goes on there.
        seed: Of the order of rows and of the blend.
        **options: As in `fit`, for both stages: `batch_size`, `lora`, …

    Raises:
        InputError: The two have another number of columns, or none of negatives, or as in `fit`.

    Reference:
        Lee et al., NV-Embed: Improved Techniques for Training LLMs as Generalist Embedding Models, ICLR 2025,
        section 3.3 and table 4.

    Deviations:
        One instruction for all rows; the paper has one a data set. The temperature is not in the paper.
    """
    first, second = as_dataset(retrieval), as_dataset(other)
    has_labels = set(LABELS) & {*first.column_names, *second.column_names}
    if has_labels or first.num_columns != second.num_columns or first.num_columns < 3:
        message = (
            "both stages need rows of one form, (anchor, positive, negative, …); received "
            f"columns {first.column_names} and {second.column_names}: mine negatives, or draw as many for each"
        )
        raise InputError(message)
    names = ["anchor", "positive", *(f"negative_{place}" for place in range(1, first.num_columns - 1))]
    first, second = (
        data.rename_columns(dict(zip(data.column_names, names, strict=True))) if data.column_names != names else data
        for data in (first, second)
    )
    order = list(range(len(first) + len(second)))
    random.Random(seed).shuffle(order)  # noqa: S311 (no secret)
    # Made anew, so that equal blends are known as equal when a run goes on.
    blend = as_dataset(concatenate_datasets([first, second]).select(order).to_dict())
    prompts: Mapping[str, Any] = {"prompts": {"anchor": instruction}} if instruction else {}
    done = []
    for stage, (data, in_batch) in enumerate(((first, True), (blend, False))):
        loss = InfoNCELoss(temperature=temperature, in_batch=in_batch)
        place = Path(folder) / f"stage_{stage + 1}" if folder else None
        run = fit(
            encoder, data, loss, learning_rate=learning_rates[stage], folder=place, seed=seed, **prompts, **options
        )
        done.append(run)
    return TwoStages(*done)
