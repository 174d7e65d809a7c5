"""A temperature that is learnt."""

import math

import torch
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.losses.arguments import positive


class LearntTemperature(nn.Module):
    """exp of one number that the optimiser moves; never below a bound.

    The bound is kept by moving the number back before each use, as after a step of the optimiser: clamping what is
    computed from it would leave it without a gradient outside.

    Args:
        temperature: At the beginning, above 0.
        learnt: Whether it changes in training.
        lowest: The bound.

    Raises:
        InputError: A number is not above 0, or the temperature is below the bound.
    """

    def __init__(self, temperature: float, *, learnt: bool, lowest: float = 0.01) -> None:
        super().__init__()
        if positive("temperature", temperature) < lowest:
            raise InputError(f"temperature must be {lowest} or more; received {temperature}")
        self.lowest = lowest
        self.log = nn.Parameter(torch.tensor(math.log(temperature)), requires_grad=learnt)

    def forward(self) -> Tensor:
        """The temperature, 0-d, float32."""
        with torch.no_grad():
            self.log.clamp_(min=math.log(self.lowest))
        return self.log.float().exp()
