"""What training minimises: tensors in, a 0-d tensor out, in one of four call signatures.

    loss(embeddings, labels)                       labelled batch
    loss(anchors, positives, *negatives)           contrastive
    loss(first, second, scores)                    graded pairs
    loss(student, teacher)                         distillation

Wrappers take a loss and are called like it. The layer-wise ones (2D Matryoshka, Espresso, Starbucks) take embeddings
of shape (layers, n, dim) where the loss takes (n, dim): row l − 1 is what `encode(num_layers=l)` returns. Their
attribute `by_layer` is True, which tells whoever encodes for them.
"""

from embedkit.losses.cacr import CACRLoss
from embedkit.losses.cosent import CoSENTLoss
from embedkit.losses.energy_confusion import EnergyConfusionLoss
from embedkit.losses.espresso import EspressoLoss
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.losses.matryoshka import MatryoshkaLoss
from embedkit.losses.pair_contrastive import PairContrastiveLoss
from embedkit.losses.proto_triplet import ProtoTripletLoss
from embedkit.losses.sigmoid_pair import SigmoidPairLoss
from embedkit.losses.softmax import SoftmaxLoss
from embedkit.losses.starbucks import StarbucksLoss
from embedkit.losses.sup_con import SupConLoss
from embedkit.losses.two_d_matryoshka import TwoDMatryoshkaLoss

__all__ = [
    "CACRLoss",
    "CoSENTLoss",
    "EnergyConfusionLoss",
    "EspressoLoss",
    "InfoNCELoss",
    "MatryoshkaLoss",
    "PairContrastiveLoss",
    "ProtoTripletLoss",
    "SigmoidPairLoss",
    "SoftmaxLoss",
    "StarbucksLoss",
    "SupConLoss",
    "TwoDMatryoshkaLoss",
]
