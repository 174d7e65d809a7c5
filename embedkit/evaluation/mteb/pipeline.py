"""A whole search pipeline as a model of mteb: index, filter and reranking are scored as users would run them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mteb._create_dataloaders import _retrieval_texts
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from embedkit.errors import InputError
from embedkit.index.filters import Where
from embedkit.index.retriever import Hit

_ID = "mteb_id"
"""Metadata field in which a document's id is kept, so that a reranking task can name its candidates."""


class SupportsSearch(Protocol):
    """What is scored: an empty `Retriever`, or anything that adds and searches as one."""

    def add(self, ids: Any, documents: Any, metadata: Any) -> None:
        """Take in the corpus."""
        ...

    def search(self, queries: Any, k: int) -> Any:
        """For each query a list of `Hit`, best first."""
        ...


class PipelineModel:
    """A search pipeline behind mteb's `SearchProtocol`.

    Args:
        make: Gives an empty retriever; called for each corpus.
        name: "organisation/model"; a name without "/" is put under "local".
        revision: Content hash of everything that decides a result: the encoder, the index settings, the reranker.
        where: Conditions on metadata that each search is held to; a corpus row's further columns are its metadata.
        rerank: Given a query and its hits, new scores for them, higher is better; None keeps the index's.
        depth: How many hits are reranked.

    Raises:
        InputError: `depth` is not positive.
    """

    def __init__(
        self,
        make: Callable[[], SupportsSearch],
        name: str,
        *,
        revision: str,
        where: Where | None = None,
        rerank: Callable[[str, Sequence[Hit]], Sequence[float]] | None = None,
        depth: int = 100,
    ) -> None:
        if depth < 1:
            message = f"depth must be at least 1; received {depth}"
            raise InputError(message)
        self._make, self._where, self._rerank, self._depth = make, where, rerank, depth
        self._retriever: Any = None
        self.mteb_model_meta = _meta(name if "/" in name else f"local/{name}", revision)

    def index(self, corpus: Any, **about: Any) -> None:
        """Fill a new retriever with the corpus: mteb's columns id, text and title."""
        del about
        self._retriever = self._make()
        extra = [name for name in corpus.column_names if name not in {"id", "text", "title"}]
        metadata = [{_ID: row["id"], **{name: row[name] for name in extra}} for row in corpus]
        self._retriever.add(list(corpus["id"]), _retrieval_texts(corpus, PromptType.document), metadata)

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **about: Any
    ) -> dict[str, dict[str, float]]:
        """Query id → document id → score; a reranking task's candidates bound the search."""
        del about
        ids, texts = list(queries["id"]), _retrieval_texts(queries, PromptType.query)
        if top_ranked is None:
            found = self._find(texts, top_k, self._where)
        else:
            found = [
                self._find([text], len(top_ranked[id]), {**(self._where or {}), _ID: list(top_ranked[id])})[0]
                for id, text in zip(ids, texts, strict=True)
            ]
        return {id: self._scored(text, hits) for id, text, hits in zip(ids, texts, found, strict=True)}

    def _find(self, texts: list[str], k: int, where: Where | None) -> list[list[Hit]]:
        options = {"where": where} if where else {}
        found: list[list[Hit]] = self._retriever.search(texts, k, **options)
        return found

    def _scored(self, query: str, hits: list[Hit]) -> dict[str, float]:
        if self._rerank is None or not hits:
            return {str(hit.id): hit.score for hit in hits}
        first, rest = hits[: self._depth], hits[self._depth :]
        scores = [float(score) for score in self._rerank(query, first)]
        # Those beyond the depth stay behind the reranked ones, in their order.
        behind = {str(hit.id): min(scores) - 1 - place for place, hit in enumerate(rest)}
        return {**{str(hit.id): score for hit, score in zip(first, scores, strict=True)}, **behind}


def _meta(name: str, revision: str) -> ModelMeta:
    return ModelMeta(
        loader=None,
        name=name,
        revision=revision[:40],
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=None,
        embed_dim=None,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["NumPy"],
        similarity_fn_name=None,
        use_instructions=None,
        training_datasets=None,
    )
