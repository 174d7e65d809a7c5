"""Two pointers into a text: where the bug is, and which token repairs it."""

from typing import Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from embedkit.errors import InputError
from embedkit.modules.arguments import check_sizes
from embedkit.modules.pooling.masked import checked_states
from embedkit.modules.stored import StoredModule

Form: TypeAlias = Literal["log_sum", "original"]
"""How candidates are told from other tokens, and how several right answers are counted together."""


class PointerHead(StoredModule):
    """Scores of every token as the place of the bug, and as its repair (pointer model of CuBERT).

        M = tanh(Y W_y + 1 (h W_h))          pointer_logits = M w

    with Y the `token_embeddings`, (tokens, dim), h the state of the first token, W_y and W_h of shape (dim, dim), and w
    of shape (dim, 2): column 0 points at the bug, column 1 at the repair. The first token stands for "there is no bug".
    A softmax over tokens makes each column a distribution; `candidate_logits` says over which.

    Args:
        dim: Width of the states.
        form: What `candidate_logits` and the loss make of the scores; kept here since a head is of use only as it was
            trained.

    Raises:
        InputError: `dim` is no size, or there is no such form.

    Example:
        >>> head = PointerHead(8)
        >>> head({"token_embeddings": torch.randn(2, 5, 8)})["pointer_logits"].shape
        torch.Size([2, 5, 2])

    Reference:
        A. Kanade, P. Maniatis, G. Balakrishnan, K. Shi, "Learning and Evaluating Contextual Embedding of Source Code",
        ICML 2020; M. Vasic, A. Kanade, P. Maniatis, D. Bieber, R. Singh, "Neural Program Repair by Jointly Learning to
        Localize and Repair", ICLR 2019.

    Deviations:
        h is the first token's state itself, without BERT's map and tanh behind it, which not every backbone has.
    """

    config_keys: list[str] = ["dim", "form"]  # noqa: RUF012 (declared so by the base class)

    def __init__(self, dim: int, *, form: Form = "log_sum") -> None:
        super().__init__()
        check_sizes(dim=dim)
        if form not in get_args(Form):
            message = f"form must be 'log_sum' or 'original'; received {form!r:.100}"
            raise InputError(message)
        self.dim, self.form = dim, form
        self.tokens = nn.Linear(dim, dim, bias=False)
        self.first = nn.Linear(dim, dim, bias=False)
        self.pointers = nn.Linear(dim, 2, bias=False)

    def logits(self, token_embeddings: Float[Tensor, "n tokens dim"]) -> Float[Tensor, "n tokens 2"]:
        """Scores of every token.

        Args:
            token_embeddings: (n, tokens, dim), the first token in front, padding behind.

        Returns:
            (n, tokens, 2).

        Raises:
            InputError: They are of another shape.
        """
        states = checked_states(token_embeddings, self.dim).to(self.pointers.weight.dtype)
        mixed = torch.tanh(self.tokens(states) + self.first(states[:, :1]))
        logits: Tensor = self.pointers(mixed)
        return logits

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add `pointer_logits`, (n, tokens, 2), to the features of a transformer; what else is there stays.

        Raises:
            InputError: `token_embeddings` are of another width.
        """
        features["pointer_logits"] = self.logits(features.get("token_embeddings"))  # type: ignore[arg-type]  # checked
        return features


def candidate_logits(
    logits: Float[Tensor, "n tokens 2"],
    candidates: Bool[Tensor, "n tokens 2"],
    attention_mask: Tensor,
    *,
    form: Form,
) -> Float[Tensor, "n tokens 2"]:
    """What the two softmaxes over tokens are taken of.

    "log_sum" gives what is no candidate −∞, so that candidates share all probability; the first token always is one
    for the bug. "original" gives it 0, as the code of CuBERT does by multiplying: it keeps the weight e^0, and the
    first token is the constant that a bug has to beat.

    Args:
        logits: Of `PointerHead`.
        candidates: True where a token is a candidate: for the bug in column 0, for the repair in column 1. The first
            token is none.
        attention_mask: (n, tokens), 0 for padding, which is −∞ in both forms.
        form: "log_sum" or "original".

    Returns:
        (n, tokens, 2), in float32 at least.

    Example:
        >>> candidate_logits(
        ...     torch.tensor([[[2.0, 3.0], [4.0, 5.0]]]),
        ...     torch.tensor([[[False, False], [True, True]]]),
        ...     torch.ones(1, 2),
        ...     form="log_sum",
        ... ).tolist()
        [[[2.0, -inf], [4.0, 5.0]]]
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if form == "original":
        return (wide * candidates).masked_fill(attention_mask[..., None] == 0, -torch.inf)
    left_out = ~candidates
    left_out[:, :1, 0] = False
    return wide.masked_fill(left_out, -torch.inf)
