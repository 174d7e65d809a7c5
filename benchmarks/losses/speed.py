"""Losses with labels, forward and backward: are they as fast as pytorch-metric-learning's?

1,024 embeddings of 384 numbers, 64 classes, turn by turn. A loss is compared with the peer's of the same name, and all
triplets, which would be 15 million, in a batch of 256. CACR and Proto-Triplet, which the peer lacks, are compared with
its nearest kin (multi-similarity, which weighs pairs by how wrong they are, and the triplet loss on all triplets), SBCL
with its SupCon; Metrix and energy confusion with the wrapped loss alone, and energy confusion also with the same sum
over the matrix of all pairs. ICNN, SimLAP and Grassmann have no kin there and are left out.
"""

from collections.abc import Callable, Iterator

import torch
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning.miners import BatchHardMiner
from torch import Tensor, nn

from benchmarks.peer import ratio_row, speed_ratios
from benchmarks.results import Row
from embedkit.losses import (
    ArcFaceLoss,
    CACRLoss,
    ContrastiveLoss,
    EnergyConfusionLoss,
    MetrixLoss,
    MultiSimilarityLoss,
    ProtoTripletLoss,
    ProxyAnchorLoss,
    SBCLLoss,
    SupConLoss,
    TripletLoss,
)
from embedkit.ops.mining import hard_triplets

ROWS, DIM, CLASSES, TURNS, CALLS = 1024, 384, 64, 11, 5
PEER = "pytorch-metric-learning"


def run(smoke: bool) -> Iterator[Row]:
    """Ratios of times; above 1 ours is faster."""
    rows, turns = (128, 2) if smoke else (ROWS, TURNS)
    fewer, classes = rows // 4, CLASSES * rows // ROWS
    hard, of = TripletLoss(miner=hard_triplets), f"of {PEER}"
    pairs: dict[tuple[str, str], tuple[nn.Module, nn.Module, int]] = {
        ("SupConLoss", f"baseline: SupConLoss {of}"): (SupConLoss(), peers.SupConLoss(), rows),
        ("ContrastiveLoss", f"baseline: ContrastiveLoss {of}"): (ContrastiveLoss(), peers.ContrastiveLoss(), rows),
        ("MultiSimilarityLoss", f"baseline: MultiSimilarityLoss {of}"): (
            MultiSimilarityLoss(),
            peers.MultiSimilarityLoss(),
            rows,
        ),
        ("TripletLoss", f"hard; baseline: TripletMarginLoss, BatchHardMiner {of}"): (hard, _PeerHard(), rows),
        ("TripletLoss", f"all; baseline: TripletMarginLoss {of}"): (
            TripletLoss(),
            peers.TripletMarginLoss(margin=0.2),
            fewer,
        ),
        ("ArcFaceLoss", f"baseline: ArcFaceLoss {of}"): (
            ArcFaceLoss(DIM, classes),
            peers.ArcFaceLoss(classes, DIM),
            rows,
        ),
        ("ProxyAnchorLoss", f"baseline: ProxyAnchorLoss {of}"): (
            ProxyAnchorLoss(DIM, classes),
            peers.ProxyAnchorLoss(classes, DIM),
            rows,
        ),
        ("CACRLoss", f"baseline: MultiSimilarityLoss {of}"): (CACRLoss(), peers.MultiSimilarityLoss(), rows),
        ("ProtoTripletLoss", f"baseline: TripletMarginLoss {of}"): (
            ProtoTripletLoss(),
            peers.TripletMarginLoss(),
            fewer,
        ),
        ("SBCLLoss", f"baseline: SupConLoss {of}"): (
            SBCLLoss([row % classes for row in range(rows)]),
            peers.SupConLoss(),
            rows,
        ),
        ("MetrixLoss", "around MultiSimilarityLoss; baseline: that alone"): (
            MetrixLoss(MultiSimilarityLoss()),
            MultiSimilarityLoss(),
            rows,
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
    labels = torch.arange(rows) % (CLASSES * rows // ROWS)

    def step() -> None:
        for _ in range(CALLS):
            embeddings.grad = None
            loss(embeddings, labels).backward()

    step()
    return step


def _nothing(embeddings: Tensor, labels: Tensor) -> Tensor:
    del labels
    return 0 * embeddings.sum()


class _PeerHard(nn.Module):
    """The peer's loss on the triplets of its miner."""

    def __init__(self) -> None:
        super().__init__()
        self.mine, self.loss = BatchHardMiner(), peers.TripletMarginLoss(margin=0.2)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = self.loss(embeddings, labels, self.mine(embeddings, labels))
        return value


class _AllPairs(nn.Module):
    """The energy between classes as its definition has it."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        squares = torch.cdist(embeddings, embeddings).square()
        members = nn.functional.one_hot(labels).to(squares)
        sizes = members.sum(dim=0)
        means = members.T @ squares @ members / (sizes[:, None] * sizes[None, :])
        count = len(sizes)
        return (means.sum() - means.diagonal().sum()) / (count * (count - 1))
