"""2D Matryoshka: one loss at a depth and a width drawn anew in every batch."""

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from embedkit.losses.arguments import Loss, callable_loss, not_negative, one_of, positive, widths
from embedkit.losses.cells import cell, check_widths, divergence, grid_of, rows
from embedkit.losses.draws import Draws

_TEMPERATURES = {"paper": 1.0, "sentence_transformers": 0.3}


class TwoDMatryoshkaLoss(nn.Module):
    """A loss on the full model and on a random smaller one, drawn towards the full one (2DMSE).

    With v_n the embeddings after layer n, L the full depth and n drawn from 1 … L − 1 (n = L where there is but one
    layer), form="paper" draws one width d from `dims` and takes four cells:

        total = loss(v_L) + loss(v_L[:d]) + loss(v_n) + loss(v_n[:d])
                + kl_weight · KL(softmax(v_L / temperature) ‖ softmax(v_n / temperature))

    form="sentence_transformers" draws two widths d and e from `dims` and takes two cells, so that the full width
    is trained only when it is drawn; with one layer only the first term is left:

        total = loss(v_L[:d]) + loss(v_n[:e])
                + kl_weight · temperature · KL(softmax(v_L / temperature) ‖ softmax(v_n / temperature))

    KL is over the coordinates, the mean over the rows of all embeddings; no gradient flows into v_L through it.

    Draws come from a generator of the loss's own, whose state is part of `state_dict()`: a resumed training draws
    what the interrupted one would have drawn, and the global generator is left alone.

    Args:
        loss: What is minimised in each cell. It must take embeddings of any width.
        dims: Widths to draw from, each as often, each once.
        form: The paper's, or what `Matryoshka2dLoss` of sentence-transformers 6.2 does by default.
        kl_weight: 0 or more.
        temperature: Divides the coordinates; above 0. None is 1 for the paper's form and 0.3 for the other.
        seed: Starts the generator; an integer, 0 or more.

    Raises:
        InputError: `loss` is no instance, `dims` are not widths, or a setting is out of range.

    Example:
        >>> import torch
        >>> from embedkit.losses import CoSENTLoss
        >>> first, second = torch.randn(2, 6, 10, 384)  # 6 layers, 10 pairs, 384 dimensions
        >>> loss = TwoDMatryoshkaLoss(CoSENTLoss(), [64, 128, 384])
        >>> loss(first, second, torch.rand(10)).shape
        torch.Size([])

    Reference:
        Xianming Li, Zongxi Li, Jing Li, Haoran Xie, Qing Li: 2D Matryoshka Sentence Embeddings. arXiv 2402.14776v1,
        2024.

    Deviations:
        The teacher of the KL is detached; the authors' code lets gradients through, divides the terms of layer n
        by n, and multiplies the KL by ln(2 + n), none of which their paper states. sentence-transformers counts
        the embeddings before the first layer, H_0, among the layers it draws from. The layer-wise losses are given
        the layers from the first on, so each layer below L comes with chance 1/(L − 1) instead of 1/L. Give H_0 as
        one more first row to get their distribution. They scale prefixes to length 1 before the loss; a loss
        on cosines does not notice.
    """

    by_layer = True

    def __init__(
        self,
        loss: Loss,
        dims: Sequence[int],
        *,
        form: Literal["paper", "sentence_transformers"] = "paper",
        kl_weight: float = 1.0,
        temperature: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        one_of("form", form, tuple(_TEMPERATURES))
        self.loss = callable_loss(loss)
        self.dims = widths(dims)
        self.form = form
        self.kl_weight = not_negative("kl_weight", kl_weight)
        self.temperature = positive("temperature", _TEMPERATURES[form] if temperature is None else temperature)
        self.draws = Draws(seed)

    def forward(self, *tensors: Any) -> Float[Tensor, ""]:
        """The loss of one batch; draws anew.

        Args:
            tensors: What the wrapped loss takes, with embeddings by layer, (layers, n, dim); labels and scores (n,).

        Returns:
            0-d.

        Raises:
            InputError: The embeddings are not by layer, or narrower than the widest of `dims`.
        """
        depth, width = grid_of(tensors)
        check_widths(self.dims, width)
        cells = self._paper(depth, width) if self.form == "paper" else self._sentence_transformers(depth)
        terms = [self.loss(*cell(tensors, *each)) for each in cells]
        total: Tensor = sum(terms[1:], start=terms[0])
        shallow = cells[-1][0]
        if not self.kl_weight or shallow == depth:
            return total
        weight = self.kl_weight * (1.0 if self.form == "paper" else self.temperature)
        teacher, student = (rows(cell(tensors, layer, width)) for layer in (depth, shallow))
        return total + weight * divergence(teacher, student, self.temperature)

    def _paper(self, depth: int, width: int) -> list[tuple[int, int]]:
        shallow, dim = self._layer(depth), self._dim()
        return [(depth, width), (depth, dim), (shallow, width), (shallow, dim)]

    def _sentence_transformers(self, depth: int) -> list[tuple[int, int]]:
        last = (depth, self._dim())
        return [last, (self._layer(depth), self._dim())] if depth > 1 else [last]

    def _layer(self, depth: int) -> int:
        return 1 + self.draws.integer(depth - 1) if depth > 1 else depth

    def _dim(self) -> int:
        return self.dims[self.draws.integer(len(self.dims))]
