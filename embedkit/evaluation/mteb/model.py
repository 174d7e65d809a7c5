"""Any encoder as a model of mteb."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import AbsEncoder, get_prompt_name
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.types import PromptType

from embedkit.errors import InputError, ModelError
from embedkit.ops.vectors import normalize
from embedkit.types import Embeddings, SupportsEncode

_IMAGE_SIDE = 8


class EncoderModel(AbsEncoder):
    """An encoder behind mteb's `EncoderProtocol`.

    Its `ModelMeta` carries a revision that is the content hash of weights and settings, and the encode options:
    mteb keeps results by name, revision and options, and gives all local models one name and one revision, so
    that the second is answered with the first one's scores.

    Args:
        encoder: What turns inputs into vectors.
        name: "organisation/model"; a name without "/" is put under "local".
        revision: Content hash; None takes the encoder's `fingerprint`.
        num_layers: Passed to each `encode` call; None leaves it to the encoder.
        truncate_dim: Likewise.
        prompts: "query" and "document" → prompt put before such inputs; other keys are names of tasks or of
            task types. None takes the encoder's own.

    Raises:
        InputError: The encoder has no fingerprint and no revision was given.
    """

    mteb_model_meta: ModelMeta

    def __init__(
        self,
        encoder: SupportsEncode,
        name: str,
        *,
        revision: str | None = None,
        num_layers: int | None = None,
        truncate_dim: int | None = None,
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        self.model = encoder
        self._prompts = prompts
        self._native: Mapping[str, Any] = {}
        self.encoder: Any = encoder
        own: Any = getattr(encoder, "prompts", None) or {}
        self.model_prompts = {key: text for key, text in (prompts or own).items() if text} or None
        self._options = {
            key: value
            for key, value in (("num_layers", num_layers), ("truncate_dim", truncate_dim))
            if value is not None
        }
        self._width = truncate_dim or encoder.get_embedding_dimension()
        self.mteb_model_meta = _meta(
            encoder,
            name if "/" in name else f"local/{name}",
            revision or revision_of(encoder),
            {**self._options, **({"prompts": dict(prompts)} if prompts else {})},
        )

    def with_encoder(self, encoder: SupportsEncode, name: str) -> "EncoderModel":
        """Another encoder with the same options."""
        options: dict[str, Any] = {**self._options, "prompts": self._prompts}
        return EncoderModel(encoder, name, **options)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **options: Any,
    ) -> Embeddings:
        """Vectors of what mteb's loader yields, float32 (n, dim).

        Raises:
            ModelError: The encoder gave NaN, infinity or another shape.
        """
        del hf_split, hf_subset
        rows = self._as_read(_rows_of(inputs, self.mteb_model_meta.modalities or ["text"]))
        kept = {name: options[name] for name in ("batch_size", "show_progress_bar") if name in options}
        return self.encode_rows(rows, self._prompt(task_metadata, prompt_type), prompt_type, **kept)

    @contextmanager
    def reading(self, native: Mapping[str, Any]) -> Iterator[None]:
        """Meanwhile, an encoder that reads the things behind the texts of a task gets these.

        Args:
            native: Text form → the thing itself, such as a frame or a record.
        """
        self._native = native
        try:
            yield
        finally:
            self._native = {}

    def _as_read(self, rows: list[Any]) -> list[Any]:
        if not self._native or not rows or not reads(self.encoder, self._native[rows[0]]):
            return rows
        return [self._native[row] for row in rows]

    def encode_rows(
        self, rows: list[Any], prompt: str | None = None, role: PromptType | None = None, **options: Any
    ) -> Embeddings:
        """Vectors of a list of inputs in a role, checked, float32 (n, dim).

        An input of several modalities, of an encoder that reads each alone, gets the sum of their vectors of length 1.
        """
        encode = self.encoder.encode
        if role is not None:
            encode = getattr(self.encoder, f"encode_{role.value}", encode)
        if prompt is not None:
            options["prompt"] = prompt
        options = {**self._options, **options}
        if rows and isinstance(rows[0], dict) and not reads(self.encoder, rows[0]):
            found = sum(normalize(np.asarray(encode([row[name] for row in rows], **options))) for name in rows[0])
        else:
            found = encode(rows, **options)
        try:
            vectors = np.asarray(found, dtype=np.float32)
        except (TypeError, ValueError) as error:  # such as rows of different lengths
            message = f"encode must give one vector an input, ({len(rows)}, dim); it gave no array: {error}"
            raise ModelError(message) from None
        if vectors.ndim != 2 or len(vectors) != len(rows) or vectors.shape[1] != (self._width or vectors.shape[1]):
            wanted = f"({len(rows)}, {self._width or 'dim'})"
            message = f"encode must give one vector an input, {wanted}; it gave shape {vectors.shape}"
            raise ModelError(message)
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            message = f"encode must give finite vectors; the one of {str(rows[bad])[:80]!r} has NaN or infinity"
            raise ModelError(message)
        return vectors

    def _prompt(self, task: TaskMetadata, role: PromptType | None) -> str | None:
        if self.model_prompts is None:
            return None
        return self.model_prompts.get(get_prompt_name(self.model_prompts, task, role) or "")


def revision_of(encoder: Any) -> str:
    """Content hash of an encoder, forty characters: its weights, and what it does unless told otherwise.

    Raises:
        InputError: It has none; pass one as `revision`.
    """
    from sentence_transformers import SentenceTransformer

    from embedkit.encoders.fingerprint import fingerprint

    known = getattr(encoder, "fingerprint", None)
    if known is None and isinstance(encoder, SentenceTransformer):
        known = fingerprint(encoder)
    if not isinstance(known, str):
        message = (
            f"results are kept by the content hash of the model, and {type(encoder).__name__} has no `fingerprint`: "
            "give it one, another for each change of the model; `EncoderModel` takes it as revision="
        )
        raise InputError(message)
    prompts = {name: text for name, text in (getattr(encoder, "prompts", None) or {}).items() if text}
    habits = [prompts, *(getattr(encoder, name, None) for name in ("default_prompt_name", "truncate_dim"))]
    if any(habits) or _similarity(encoder) != ScoringFunction.COSINE:
        known = hashlib.sha256(json.dumps([known, habits, _similarity(encoder).value]).encode()).hexdigest()
    return known[:40]


def reads(encoder: Any, value: Any) -> bool:
    """Whether `value` is one input of the encoder, a string as text; asked of the encoder, never guessed from it."""
    from embedkit.encoders.encoder import Encoder
    from embedkit.encoders.towers import reader_of

    if isinstance(encoder, Encoder):
        is_path = isinstance(value, str) and list(encoder.modalities) == ["image"]
        return not is_path and reader_of(encoder, None).problem(value) is None
    said = getattr(encoder, "modalities", ["text"])
    return "text" in said if isinstance(value, str) else "image" in said and type(value).__module__.startswith("PIL.")


def modalities_of(encoder: Any) -> list[Any]:
    """What an encoder reads, in mteb's words; empty where mteb has none for it."""
    image = _blank_image()
    examples = [("text", "text"), *([("image", image)] if image is not None else [])]
    return [name for name, example in examples if reads(encoder, example)]


def _blank_image() -> Any:
    try:
        from PIL import Image
    except ImportError:
        return None
    return Image.new("RGB", (_IMAGE_SIDE, _IMAGE_SIDE))


def _rows_of(loader: Any, modalities: list[Any]) -> list[Any]:
    """All inputs of a loader: plain where they have one modality, objects with a key for each where several."""
    columns = getattr(getattr(loader, "dataset", None), "column_names", [])
    if modalities == ["text"] and "text" in columns:
        return list(loader.dataset["text"][:])  # what its batches hold, at once: row by row costs as much as scoring
    rows: list[Any] = []
    for batch in loader:
        present = [name for name in modalities if name in batch]
        if len(present) == 1:
            rows.extend(batch[present[0]])
        else:
            rows.extend(dict(zip(present, row, strict=True)) for row in zip(*(batch[n] for n in present), strict=True))
    return rows


def _meta(encoder: Any, name: str, revision: str, options: Mapping[str, Any]) -> ModelMeta:
    window = getattr(encoder, "max_seq_length", None)
    parameters = sum(p.numel() for p in encoder.parameters()) if hasattr(encoder, "parameters") else None
    return ModelMeta(
        loader=None,
        name=name,
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=parameters,
        memory_usage_mb=None,
        max_tokens=window,
        embed_dim=options.get("truncate_dim") or encoder.get_embedding_dimension(),
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["Sentence Transformers"] if hasattr(encoder, "tokenizer") else ["NumPy"],
        similarity_fn_name=_similarity(encoder),
        use_instructions=bool(getattr(encoder, "prompts", None)),
        training_datasets=None,
        modalities=modalities_of(encoder),
        experiment_kwargs=dict(options) or None,
    )


def _similarity(encoder: Any) -> ScoringFunction:
    said = str(getattr(encoder, "similarity_fn_name", None) or "cosine")
    return ScoringFunction(said)
