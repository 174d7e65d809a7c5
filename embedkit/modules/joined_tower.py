"""A second network on the same inputs, whose vector stands behind the first one's."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from sentence_transformers.base.modules import Router
from torch import nn
from torch.nn import functional


class JoinedTower(Router):
    """Runs a tower on what the first module of the encoder read, and joins its vector to the one that is there.

        sentence_embedding ← [ sentence_embedding / ‖sentence_embedding‖ ; tower / ‖tower‖ ]

    Each half has length 1, so that neither outweighs the other: the cosine of two joined vectors is the mean of both
    halves' cosines. Inputs are read once. It is kept as sentence-transformers' `Router` keeps its routes.

    Args:
        sub_modules: The tower's modules by the name "tower"; the first takes the same features as the encoder's first.
        width: Of the vector that is there, which the tower's is joined to.

    Example:
        >>> from sentence_transformers.base.modules import Dense
        >>> tower = JoinedTower(
        ...     {"tower": [Dense(2, 1, init_weight=torch.ones(1, 2), activation_function=None)]}, width=2
        ... )
        >>> tower({"sentence_embedding": torch.tensor([[3.0, 4.0]])})["sentence_embedding"].tolist()
        [[0.6000000238418579, 0.800000011920929, 1.0]]
    """

    config_keys: list[str] = ["width"]  # noqa: RUF012 (declared so by the base class)

    def __init__(self, sub_modules: Mapping[str, Iterable[nn.Module]], *, width: int) -> None:
        modules: Any = {"tower": list(sub_modules["tower"])}
        super().__init__(modules)
        self.width = width

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # fewer names
        """Replace "sentence_embedding" (n, width) by the joined vectors, (n, width + the tower's)."""
        tower, modules = {**features}, cast("nn.Sequential", self.sub_modules["tower"])
        for module in modules:
            taken = getattr(module, "forward_kwargs", ())
            tower = module(tower, **{name: value for name, value in kwargs.items() if name in taken})
        halves = (functional.normalize(each["sentence_embedding"], dim=1) for each in (features, tower))
        return {**features, "sentence_embedding": torch.cat(tuple(halves), dim=1)}

    def get_embedding_dimension(self) -> int:
        """Width of the joined vectors."""
        return self.width + int(super().get_embedding_dimension() or 0)
