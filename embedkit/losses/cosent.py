"""CoSENT: pairs in the order of their scores."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from embedkit.losses.arguments import check_rows, check_scores, positive
from embedkit.ops.similarity import pairwise_cosine_similarity


class CoSENTLoss(nn.Module):
    """A smooth count of the pairs of pairs whose cosines stand in the wrong order (CoSENT).

        loss = log( 1 + Σ_{i, j: scores_i > scores_j} exp((cos_j − cos_i) / temperature) )

    with cos_i the cosine of first_i and second_i. Only the order of the scores counts, so any scale will do;
    equal scores say nothing about each other.

    Args:
        temperature: Divides the differences of cosines; above 0.

    Raises:
        InputError: The temperature is not above 0.

    Example:
        >>> first, second = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0
        >>> round(CoSENTLoss(temperature=1.0)(first, second, torch.tensor([0.2, 0.9])).item(), 4)  # log(1 + e)
        1.3133

    Reference:
        Xiang Huang, Hao Peng, Dongcheng Zou, Zhiwei Liu, Jianxin Li, Kay Liu, Jia Wu, Jianlin Su, Philip S. Yu:
        CoSENT: Consistent Sentence Embedding via Similarity Ranking. IEEE/ACM TASLP, 2024.

    Deviations:
        None.
    """

    def __init__(self, *, temperature: float = 0.05) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)

    def forward(
        self, first: Float[Tensor, "n dim"], second: Float[Tensor, "n dim"], scores: Shaped[Tensor, "n"]
    ) -> Float[Tensor, ""]:
        """The loss of one batch. Takes n² numbers of memory.

        Args:
            first: (n, dim).
            second: (n, dim); row i forms a pair with row i of `first`.
            scores: (n,), integer, boolean or floating; higher means more alike.

        Returns:
            0-d; 0 where no score is above another.

        Raises:
            InputError: The tensors differ in shape, or a score is not finite.
        """
        check_rows(first=first, second=second)
        check_scores(scores, len(first))
        cosines = pairwise_cosine_similarity(first, second) / self.temperature
        above = scores[:, None] > scores[None, :]
        wrong = (cosines[None, :] - cosines[:, None]).masked_fill(~above, -torch.inf)
        return torch.cat([cosines.new_zeros(1), wrong.flatten()]).logsumexp(dim=0)
