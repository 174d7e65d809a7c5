"""Click records as an evaluation task: who will like what, from vectors of records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata
from numpy.typing import NDArray

from embedkit.evaluation.items import Items
from embedkit.evaluation.tasks.metadata import data_folder, existing, metadata

_TRAIN, _TEST = 4_000, 2_000
_LIKED = 4


class ClickTask(AbsTask):
    """Predict a yes or no from the vector of a record: logistic regression on frozen vectors, scored by AUC.

    Attributes:
        native: Text form → the record itself, for encoders that read it.
    """

    abstask_prompt = "Predict whether the user likes the item."

    def __init__(self, about: TaskMetadata, splits: Mapping[str, Mapping[str, list[Any]]], **known: Any) -> None:
        self.metadata = about
        super().__init__()
        self.dataset = {
            "default": DatasetDict({name: Dataset.from_dict(dict(columns)) for name, columns in splits.items()})
        }
        self.data_loaded = True
        self.modality = "record"
        self.source: str = known["source"]
        self.native: Mapping[str, Any] = known["native"]
        self._scores: NDArray[np.float64] = np.empty(0)

    def _evaluate_subset(
        self, model: Any, data_split: Dataset, *, hf_split: str, hf_subset: str, encode_kwargs: Any, **options: Any
    ) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import accuracy_score, roc_auc_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        del options
        train = self.dataset["default"]["train"] if self.dataset else data_split
        vectors = {
            name: model.encode(
                create_dataloader(split, task_metadata=self.metadata, input_column="text", **encode_kwargs),
                task_metadata=self.metadata,
                hf_split=name,
                hf_subset=hf_subset,
                **encode_kwargs,
            )
            for name, split in (("train", train), (hf_split, data_split))
        }
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))
        head.fit(vectors["train"], train["label"])
        self._scores = head.predict_proba(vectors[hf_split])[:, 1]
        target = data_split["label"]
        return {
            "auc": float(roc_auc_score(target, self._scores)),
            "accuracy": float(accuracy_score(target, self._scores > 0.5)),
        }

    def items(self, split: str, subset: str) -> Items:
        """What the last score is made of."""
        target = np.asarray(self.dataset["default"][split]["label"], dtype=np.float64)  # type: ignore[index]
        ids = tuple(str(row) for row in range(len(target)))
        return Items(split, subset, "auc", "record", ids, {"score": self._scores, "target": target})

    def _calculate_descriptive_statistics_from_split(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError


def click_task(data: Path | None = None) -> ClickTask:
    """Whether a user of MovieLens 100k gave a film four stars or more: 4,000 ratings to fit on, the next 2,000 to tell.

    Ratings are taken in the order of their time, the last 6,000, so that the future is told from the past. A record is
    user, age, gender, occupation, film, year and classes.

    Raises:
        InputError: The data set is not there.
    """
    folder = existing(data_folder(data) / "ctr" / "ml100k")
    frames = {
        name: pd.read_csv(existing(folder / f"ml-100k.{name}"), sep="\t", dtype=str, keep_default_na=False)
        for name in ("inter", "user", "item")
    }
    for frame in frames.values():
        frame.columns = [column.split(":")[0] for column in frame.columns]
    ratings = frames["inter"].merge(frames["user"], on="user_id").merge(frames["item"], on="item_id")
    ratings = ratings.astype({"timestamp": float}).sort_values(["timestamp", "user_id", "item_id"]).tail(_TRAIN + _TEST)
    fields = ["user_id", "age", "gender", "occupation", "movie_title", "release_year", "class"]
    records = ratings[fields].to_dict("records")
    texts = [
        ", ".join(f"{str(name).replace('_', ' ')}: {value}" for name, value in record.items()) for record in records
    ]
    labels = [int(float(rating) >= _LIKED) for rating in ratings["rating"]]
    splits: dict[str, dict[str, list[Any]]] = {
        "train": {"text": texts[:_TRAIN], "label": labels[:_TRAIN]},
        "test": {"text": texts[_TRAIN:], "label": labels[_TRAIN:]},
    }
    about = metadata(
        "MovieLensClicks",
        "Classification",
        "auc",
        "Tell from user and film whether a rating of MovieLens 100k is four stars or more.",
        splits,
    )
    return ClickTask(about, splits, source=str(folder), native=dict(zip(texts, records, strict=True)))
