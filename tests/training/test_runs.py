from functools import partial

from embedkit.losses import CoSENTLoss, InfoNCELoss, MatryoshkaLoss, PairContrastiveLoss
from embedkit.ops.similarity import dot_product
from embedkit.ops.targets import cosine_weights
from embedkit.training.runs import settings


def test_losses_built_alike_read_alike_and_others_do_not():
    made = [
        InfoNCELoss,
        lambda: InfoNCELoss(temperature=0.1),
        lambda: InfoNCELoss(similarity=dot_product),
        CoSENTLoss,
        lambda: MatryoshkaLoss(CoSENTLoss(), [2, 4]),
        lambda: MatryoshkaLoss(CoSENTLoss(temperature=0.5), [2, 4]),
        lambda: MatryoshkaLoss(CoSENTLoss(), [2, 8]),
        PairContrastiveLoss,
        lambda: PairContrastiveLoss(queue_size=8),
        lambda: PairContrastiveLoss(target=cosine_weights),
        lambda: PairContrastiveLoss(target=partial(cosine_weights, temperature=0.1)),
        lambda: PairContrastiveLoss(target=partial(cosine_weights, temperature=0.2)),
    ]
    first, again = ([f"{loss!r} {settings(loss)}" for loss in (make() for make in made)] for _ in range(2))
    assert first == again
    assert len(set(first)) == len(made)
    assert not any(" at 0x" in each for each in first)
