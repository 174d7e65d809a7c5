"""Random numbers of a loss's own."""

from typing import Any

import torch
from scipy.special import betaincinv
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import described, whole


class Draws(nn.Module):
    """A generator whose state is part of `state_dict()`.

    A resumed training draws what the interrupted one would have drawn, and the global generator is left alone.

    Args:
        seed: Starts the generator; an integer, 0 or more.

    Raises:
        InputError: The seed is none.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self._generator = torch.Generator().manual_seed(whole("seed", seed, least=0))

    def integer(self, count: int) -> int:
        """One of 0 … count − 1."""
        return int(torch.randint(count, (), generator=self._generator))

    def permutation(self, count: int) -> Tensor:
        """0 … count − 1 in some order, (count,)."""
        return torch.randperm(count, generator=self._generator)

    def beta(self, alpha: float) -> float:
        """From Beta(alpha, alpha), 0 … 1."""
        uniform = float(torch.rand((), dtype=torch.float64, generator=self._generator))
        return float(betaincinv(alpha, alpha, uniform))

    def get_extra_state(self) -> Tensor:
        """State of the generator, which torch puts into `state_dict()`."""
        return self._generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Take up the state that `get_extra_state` gave; `load_state_dict` calls this.

        Raises:
            InputError: It is no state of a generator.
        """
        try:
            self._generator.set_state(state.cpu())
        except (AttributeError, RuntimeError, TypeError) as error:
            message = f"the state must be one that `state_dict()` of this loss gave; received {described(state)}"
            raise InputError(message) from error
