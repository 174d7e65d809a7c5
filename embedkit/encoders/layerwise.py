"""Encoders whose pooling reads every layer: a transformer that gives all its states, and `with_pooling`."""

from typing import Any, ClassVar, Self

from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedkit.encoders.depth import final_norm, num_layers_of, recording_layers
from embedkit.encoders.encoder import Encoder
from embedkit.errors import InputError
from embedkit.modules.pooling.masked import LayerPooling, MaskedPooling


class LayerwiseTransformer(Transformer):
    """A transformer that also gives the states of each of its layers.

    It adds `all_layer_embeddings` to the features: (H_0, …, H_k), each (n, tokens, dim), where H_l are the very states
    that an encoder pools at `num_layers=l`. So H_0 is what the embedding layer gives, and a backbone that ends in a
    norm has it applied to all of them; transformers' own `output_hidden_states` norms the last only.

    Example:
        >>> import embedkit as ek
        >>> transformer = LayerwiseTransformer.of(ek.load()[0])
        >>> features = transformer(transformer.preprocess(["red green"]))
        >>> len(features["all_layer_embeddings"]), tuple(features["all_layer_embeddings"][6].shape)
        (7, (1, 4, 384))
    """

    records_layers: ClassVar[bool] = True

    @classmethod
    def of(cls, transformer: Any) -> Self:
        """The same transformer, giving all states: weights, tokenizer and settings are shared, nothing is copied.

        Raises:
            InputError: It is no transformer.
        """
        if not isinstance(transformer, Transformer):
            message = f"the encoder must begin with a transformer; received {type(transformer).__name__}"
            raise InputError(message)
        layerwise = cls.__new__(cls)
        layerwise.__dict__.update({**transformer.__dict__, "_modules": dict(transformer._modules)})
        return layerwise

    def forward(self, features: dict[str, Any], **options: Any) -> dict[str, Any]:
        """What the transformer gives, with `all_layer_embeddings`."""
        view, states = recording_layers(self)
        features = super(LayerwiseTransformer, view).forward(features, **options)
        norm = final_norm(view)
        inner = states if norm is None else [norm(state) for state in states]
        features["all_layer_embeddings"] = (*inner, features[self.module_output_name])
        return features


def with_pooling(encoder: Encoder, pooling: MaskedPooling) -> Encoder:
    """The encoder with another pooling in place of its own; weights and settings are shared.

    Args:
        encoder: A transformer, a pooling, and whatever follows.
        pooling: One of `embedkit.modules.pooling`, of the transformer's width and depth.

    Returns:
        An encoder whose other modules are those of `encoder`.

    Raises:
        InputError: `encoder` is not of this kind, or the pooling was made for another width or depth.

    Example:
        >>> import embedkit as ek
        >>> from embedkit.modules.pooling import LayerMixPooling
        >>> with_pooling(ek.load(), LayerMixPooling(384, num_layers=6)).encode("one sentence", num_layers=3).shape
        (384,)
    """
    transformer, *behind = encoder
    places = [place for place, module in enumerate(behind) if isinstance(module, Pooling | MaskedPooling)]
    if not isinstance(transformer, Transformer) or not places:
        message = "with_pooling needs an encoder with a transformer and a pooling; received " + ", ".join(
            type(module).__name__ for module in encoder
        )
        raise InputError(message)
    check_fits(pooling, transformer)
    if isinstance(pooling, LayerPooling):
        transformer = LayerwiseTransformer.of(transformer)
    behind[places[0]] = pooling
    return Encoder(
        [transformer, *behind],
        prompts=dict(encoder.prompts),
        default_prompt_name=encoder.default_prompt_name,
        similarity_fn_name=encoder.similarity_fn_name,
        truncate_dim=encoder.truncate_dim,
        device=str(encoder.device),
    )


def check_fits(pooling: MaskedPooling, transformer: Transformer) -> None:
    """Check that a pooling was made for the width and the depth of a transformer.

    Raises:
        InputError: It was not, or is none of ours.
    """
    if not isinstance(pooling, MaskedPooling):
        message = f"pooling must be one of embedkit.modules.pooling; received {type(pooling).__name__}"
        raise InputError(message)
    dim = transformer.get_embedding_dimension()
    if pooling.dim != dim:
        message = f"the pooling must have dim={dim}, the transformer's width; received {pooling.dim}"
        raise InputError(message)
    if isinstance(pooling, LayerPooling) and pooling.num_layers != (depth := num_layers_of(transformer)):
        message = f"the pooling must have num_layers={depth}, the transformer's depth; received {pooling.num_layers}"
        raise InputError(message)
