"""Losses with labels, forward and backward: are they as fast as pytorch-metric-learning's?

1,024 embeddings of 384 numbers, 64 classes, turn by turn. SupCon is compared with the peer's SupCon; CACR and
Proto-Triplet, which the peer lacks, with its nearest kin (multi-similarity, which weighs pairs by how wrong they are,
and the triplet loss on all triplets of a smaller batch of 256); energy confusion with the wrapped loss alone, and with
the same sum over the matrix of all pairs.
"""

from collections.abc import Callable, Iterator

import torch
from pytorch_metric_learning import losses as peers
from torch import Tensor, nn

from benchmarks.peer import ratio_row, speed_ratios
from benchmarks.results import Row
from embedkit.losses import CACRLoss, EnergyConfusionLoss, ProtoTripletLoss, SupConLoss

ROWS, DIM, CLASSES, TURNS, CALLS = 1024, 384, 64, 11, 5
PEER = "pytorch-metric-learning"


def run(smoke: bool) -> Iterator[Row]:
    """Ratios of times; above 1 ours is faster."""
    rows, turns = (128, 2) if smoke else (ROWS, TURNS)
    fewer = rows // 4
    pairs: dict[tuple[str, str], tuple[nn.Module, nn.Module, int]] = {
        ("SupConLoss", f"baseline: SupConLoss of {PEER}"): (SupConLoss(), peers.SupConLoss(), rows),
        ("CACRLoss", f"baseline: MultiSimilarityLoss of {PEER}"): (CACRLoss(), peers.MultiSimilarityLoss(), rows),
        ("ProtoTripletLoss", f"baseline: TripletMarginLoss of {PEER}; {fewer} rows"): (
            ProtoTripletLoss(),
            peers.TripletMarginLoss(),
            fewer,
        ),
        ("EnergyConfusionLoss", "around SupConLoss; baseline: SupConLoss alone"): (
            EnergyConfusionLoss(SupConLoss()),
            SupConLoss(),
            rows,
        ),
        ("EnergyConfusionLoss", "around nothing; baseline: by all pairs"): (
            EnergyConfusionLoss(_nothing, weight=1.0, log=False),
            _AllPairs(),
            rows,
        ),
    }
    for (method, variant), (ours, theirs, count) in pairs.items():
        ratios = speed_ratios(_stepping(ours, count), _stepping(theirs, count), turns)
        yield ratio_row(
            ratios, turns, method=method, variant=variant, dataset=f"{count} x {DIM}", metric="times faster, both ways"
        )


def _stepping(loss: nn.Module, rows: int) -> Callable[[], None]:
    """Forward and backward, several times."""
    draw = torch.Generator().manual_seed(0)
    embeddings = torch.randn(rows, DIM, generator=draw).requires_grad_()
    labels = torch.arange(rows) % (CLASSES * rows // ROWS or 2)

    def step() -> None:
        for _ in range(CALLS):
            embeddings.grad = None
            loss(embeddings, labels).backward()

    step()
    return step


def _nothing(embeddings: Tensor, labels: Tensor) -> Tensor:
    del labels
    return 0 * embeddings.sum()


class _AllPairs(nn.Module):
    """The energy between classes as its definition has it."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        squares = torch.cdist(embeddings, embeddings).square()
        members = nn.functional.one_hot(labels).to(squares)
        sizes = members.sum(dim=0)
        means = members.T @ squares @ members / (sizes[:, None] * sizes[None, :])
        count = len(sizes)
        return (means.sum() - means.diagonal().sum()) / (count * (count - 1))
