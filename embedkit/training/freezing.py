"""Parts of an encoder that a training leaves as they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Keep modules as they are while something else is trained: no gradient, no dropout, no moving averages.

    Such as the tower of texts of a dual encoder, which is then locked as in LiT.

    Args:
        *modules: Of the encoder that is trained within the block.

    Example:
        >>> part = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        >>> with frozen(part[1]):
        ...     _ = part.train()
        ...     (part[0].training, part[1].training)
        (True, False)
        >>> part.train()[1].training
        True

    Reference:
        X. Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022.
    """
    parameters = [each for module in modules for each in module.parameters() if each.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in modules:
        module.eval()
        module.train = _stays(module)  # type: ignore[method-assign,assignment]  # which a parent calls on its children
    try:
        yield
    finally:
        for module in modules:
            del module.train
        for parameter in parameters:
            parameter.requires_grad_(True)


def _stays(module: nn.Module) -> Callable[[bool], nn.Module]:
    def train(mode: bool = True) -> nn.Module:
        del mode
        return module

    return train
