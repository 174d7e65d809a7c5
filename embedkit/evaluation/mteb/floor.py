"""The models that know nothing, as mteb runs them beside the one that is measured."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from mteb.abstasks import AbsTask

from embedkit.errors import InputError
from embedkit.evaluation.floors import FLOORS, Bm25, RandomEncoder, TfidfEncoder, untrained
from embedkit.evaluation.mteb.model import EncoderModel
from embedkit.evaluation.mteb.pipeline import PipelineModel
from embedkit.evaluation.results import FLOOR_PREFIX
from embedkit.evaluation.tasks.texts import texts_of

Model: TypeAlias = EncoderModel | PipelineModel

_SEARCHES = ("Retrieval", "Reranking")


class Floors:
    """The floors beside one model.

    Args:
        model: What is measured; its architecture is that of the untrained floor.
        names: Which of `FLOORS`.

    Raises:
        InputError: An unknown floor.
    """

    def __init__(self, model: Model, names: Sequence[str]) -> None:
        unknown = sorted(set(names) - set(FLOORS))
        if unknown:
            message = f"floors are {', '.join(FLOORS)}; received {', '.join(unknown)}"
            raise InputError(message)
        self._model = model
        self.names = tuple(names)
        self._twin: EncoderModel | None = None

    def __len__(self) -> int:
        return len(self.names)

    def on(self, task: AbsTask, name: str) -> Model | None:
        """One of them for a task, whose data must be loaded; None where there is none for such a task or model."""
        make: dict[str, Callable[[AbsTask], Model | None]] = {
            "random": self._random,
            "tfidf": self._words,
            "untrained": self._untrained,
        }
        return make[name](task)

    def _random(self, task: AbsTask) -> Model | None:
        del task
        return EncoderModel(RandomEncoder(), f"{FLOOR_PREFIX}random")

    def _words(self, task: AbsTask) -> Model | None:
        """BM25 where the task is a search over text, TF-IDF where vectors are asked for."""
        texts = texts_of(task)
        if not texts:
            return None
        if str(task.metadata.type).endswith(_SEARCHES) and task.metadata.modalities == ["text"]:
            return PipelineModel(Bm25, f"{FLOOR_PREFIX}bm25", revision=Bm25().fingerprint)
        return EncoderModel(TfidfEncoder(texts), f"{FLOOR_PREFIX}tfidf")

    def _untrained(self, task: AbsTask) -> Model | None:
        del task
        model: Any = self._model
        if not isinstance(model, EncoderModel) or not hasattr(model.encoder, "parameters"):
            return None
        if self._twin is None:
            name = str(model.mteb_model_meta.name).rsplit("/", maxsplit=1)[-1]
            self._twin = model.with_encoder(untrained(model.encoder), f"{FLOOR_PREFIX}untrained-{name}")
        return self._twin
