"""From raw inputs to vectors inside a pipeline of scikit-learn."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from embedkit.errors import InputError
from embedkit.types import Embeddings, SupportsEncode, Vector

_TELL_APART = ("prompt_name", "prompt", "task")
"""Options of `encode` that say how an input is read, which `identified` takes too."""


class EncoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """Raw inputs to vectors, as a step of a pipeline: `make_pipeline(EncoderTransformer(encoder), head)`.

        row i of transform(inputs) = encoder.encode(inputs, **options)[i]

    `make_union(EncoderTransformer(frozen), EncoderTransformer(adapted))` puts the vectors of two encoders side by side.
    A clone shares the encoder, whose weights are never copied, and the vectors that were computed; so each input is
    encoded once in a cross-validation or a search, however many folds and candidates there are. To choose among
    encoders, let the search set the step and not its argument, which scikit-learn copies with its weights:
    `{"encodertransformer": [EncoderTransformer(a), EncoderTransformer(b)]}`.

    The content of an input decides whether it is known: of an `Encoder` what it says an input is (a text, the fields of
    a record that it reads, the cells of a table, the pixels of a picture or the bytes of its file), together with its
    weights; of anything else with `encode` the text, and its other inputs are encoded each time. What has no
    `fingerprint` is taken not to change. Threads may share all of it; two that meet the same input at once may both
    encode it. Processes (`n_jobs`) share nothing but the encoder's own `cache` on disk: give it a `VectorCache`.

    It learns nothing, so it need not be fitted and is not saved: keep `encoder.save(folder)` and `head.save(folder)`,
    and make the pipeline again of what their `load` gives.

    Args:
        encoder: What turns inputs into vectors.
        options: Further arguments of its `encode`, by name, such as `truncate_dim`, `num_layers` or `prompt_name`.
        cache_size: How many vectors are kept in memory, 0 or more: 4 bytes a dimension each, 150 MB where 100,000
            have 384. When they are full no more are added.

    Attributes:
        dim_: Width of the vectors that `fit` saw.

    Example:
        >>> import embedkit as ek
        >>> from sklearn.pipeline import make_pipeline
        >>> from embedkit.heads import ZeroShotClassifier
        >>> pipeline = make_pipeline(EncoderTransformer(ek.load()), ZeroShotClassifier())
        >>> pipeline.fit(["a cat", "a kitten", "a car", "a truck"], ["animal", "animal", "machine", "machine"])
        Pipeline(...)
        >>> pipeline.predict(["a puppy", "a motorcycle"]).tolist()
        ['animal', 'machine']

    Reference:
        L. Buitinck et al., "API design for machine learning software: experiences from the scikit-learn project",
        2013.

    Deviations:
        None.
    """

    def __init__(
        self, encoder: SupportsEncode, *, options: Mapping[str, Any] | None = None, cache_size: int = 100_000
    ) -> None:
        self.encoder = encoder
        self.options = options
        self.cache_size = cache_size

    def fit(self, inputs: Any, y: Any = None) -> Self:
        """Learn nothing but how wide the vectors are.

        Args:
            inputs: A batch of what the encoder reads, n of them.
            y: Is not looked at.

        Returns:
            Itself.

        Raises:
            InputError: An argument is out of range, or the inputs are not what the encoder reads.
        """
        del y
        self.dim_ = self._vectors(inputs).shape[1]
        return self

    def fit_transform(self, inputs: Any, y: Any = None) -> Embeddings:
        """`fit` and `transform` in one, so that nothing is encoded twice even without memory.

        Args:
            inputs: A batch of what the encoder reads, n of them.
            y: Is not looked at.

        Returns:
            float32, (n, dim).

        Raises:
            InputError: An argument is out of range, or the inputs are not what the encoder reads.
        """
        del y
        vectors = self._vectors(inputs)
        self.dim_ = vectors.shape[1]
        return vectors

    def transform(self, inputs: Any) -> Embeddings:
        """Vectors of the inputs.

        Args:
            inputs: A batch of what the encoder reads, n of them.

        Returns:
            float32, (n, dim).

        Raises:
            InputError: An argument is out of range, or the inputs are not what the encoder reads.
        """
        return self._vectors(inputs)

    def _vectors(self, inputs: Any) -> Embeddings:
        options = self._checked_options()
        rows, contents = self._contents(inputs, options)
        if not contents or None in contents:
            return _two_dimensional(self.encoder.encode(rows, **options), len(contents))
        made_by = (getattr(self.encoder, "fingerprint", self.encoder.encode), repr(sorted(options.items())))
        keys = [(made_by, content) for content in contents]
        memory = self._memory()
        # What is known now is held here: other threads may fill the memory meanwhile.
        known = {key: memory[key] for key in keys if key in memory}
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        if missing:
            computed = _two_dimensional(self.encoder.encode(list(missing.values()), **options), len(missing))
            known.update(zip(missing, computed, strict=True))
            for key in list(missing)[: max(0, self.cache_size - len(memory))]:
                memory[key] = known[key]
        return np.stack([known[key] for key in keys])

    def _contents(self, inputs: Any, options: Mapping[str, Any]) -> tuple[Any, Sequence[Hashable]]:
        """The inputs, and for each what decides its vector; None where that is not known."""
        identified = getattr(self.encoder, "identified", None)
        if identified is not None:
            found = identified(inputs, **{name: options[name] for name in _TELL_APART if name in options})
            if not found.is_single:
                return found.rows, found.keys
        elif hasattr(inputs, "__len__") and not isinstance(inputs, str):
            if hasattr(inputs, "columns") or not all(isinstance(each, str) for each in inputs):
                return inputs, [None] * len(inputs)
            return list(inputs), list(inputs)
        raise InputError(f"inputs must be a list or array of what is encoded; received one {type(inputs).__name__}")

    def _checked_options(self) -> Mapping[str, Any]:
        if isinstance(self.encoder, type) or not isinstance(self.encoder, SupportsEncode):
            raise InputError(
                "encoder must have encode and get_embedding_dimension, as what embedkit.load gives; "
                f"received {self.encoder!r:.100}"
            )
        if self.options is not None and not isinstance(self.options, Mapping):
            raise InputError(f"options must be arguments of encode by name, or None; received {self.options!r:.100}")
        if isinstance(self.cache_size, bool) or not isinstance(self.cache_size, int) or self.cache_size < 0:
            raise InputError(f"cache_size must be a whole number, 0 or more; received {self.cache_size!r:.100}")
        return self.options or {}

    def _memory(self) -> dict[Hashable, Vector]:
        # Made at its first use, since a constructor of scikit-learn only stores; setdefault is safe among threads.
        memory: dict[Hashable, Vector] = self.__dict__.setdefault("_known", {})
        return memory

    def __sklearn_clone__(self) -> Self:
        """Another with the same encoder, not a copy of it, and with the same memory."""
        twin = type(self)(**self.get_params(deep=False))
        twin._known = self._memory()
        if hasattr(self, "_sklearn_output_config"):  # what set_output said
            twin._sklearn_output_config = dict(self._sklearn_output_config)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory, which is for this process."""
        return {name: value for name, value in super().__getstate__().items() if name != "_known"}

    def __sklearn_tags__(self) -> Any:
        """It reads raw inputs, and need not be fitted."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        tags.requires_fit = False
        return tags

    @property
    def _n_features_out(self) -> int:
        """How many names `get_feature_names_out` makes."""
        check_is_fitted(self, "dim_")
        return int(self.dim_)


def _two_dimensional(vectors: Any, rows: int) -> Embeddings:
    found: Embeddings = np.asarray(vectors, dtype=np.float32)
    if found.ndim != 2 or len(found) != rows:
        raise InputError(f"encoder must give {rows} inputs a vector each, ({rows}, dim); received shape {found.shape}")
    return found
