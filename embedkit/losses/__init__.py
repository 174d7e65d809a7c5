"""What training minimises: tensors in, a 0-d tensor out, in one of four call signatures.

    loss(embeddings, labels)                       labelled batch
    loss(anchors, positives, *negatives)           contrastive
    loss(first, second, scores)                    graded pairs
    loss(student, teacher)                         distillation

Losses that remember the training set have `row_labels` and are called with the number of each row for a label.
Wrappers take a loss and are called like it. The layer-wise ones (2D Matryoshka, Espresso, Starbucks) take embeddings
of shape (layers, n, dim) where the loss takes (n, dim): row l − 1 is what `encode(num_layers=l)` returns. Their
attribute `by_layer` is True, which tells whoever encodes for them.
"""

from embedkit.losses.arc_face import ArcFaceLoss
from embedkit.losses.cacr import CACRLoss
from embedkit.losses.class_relation import ClassRelationLoss
from embedkit.losses.contrastive import ContrastiveLoss
from embedkit.losses.cosent import CoSENTLoss
from embedkit.losses.energy_confusion import EnergyConfusionLoss
from embedkit.losses.espresso import EspressoLoss
from embedkit.losses.grassmann import GrassmannLoss
from embedkit.losses.icnn import ICNNLoss
from embedkit.losses.info_nce import InfoNCELoss
from embedkit.losses.matryoshka import MatryoshkaLoss
from embedkit.losses.metrix import MetrixLoss
from embedkit.losses.multi_similarity import MultiSimilarityLoss
from embedkit.losses.norm_direction import NormDirectionLoss
from embedkit.losses.pair_contrastive import PairContrastiveLoss
from embedkit.losses.proto_triplet import ProtoTripletLoss
from embedkit.losses.proxy_anchor import ProxyAnchorLoss
from embedkit.losses.sbcl import SBCLLoss
from embedkit.losses.sigmoid_pair import SigmoidPairLoss
from embedkit.losses.sim_lap import SimLAPLoss
from embedkit.losses.softmax import SoftmaxLoss
from embedkit.losses.starbucks import StarbucksLoss
from embedkit.losses.sup_con import SupConLoss
from embedkit.losses.triplet import TripletLoss
from embedkit.losses.two_d_matryoshka import TwoDMatryoshkaLoss

__all__ = [
    "ArcFaceLoss",
    "CACRLoss",
    "ClassRelationLoss",
    "CoSENTLoss",
    "ContrastiveLoss",
    "EnergyConfusionLoss",
    "EspressoLoss",
    "GrassmannLoss",
    "ICNNLoss",
    "InfoNCELoss",
    "MatryoshkaLoss",
    "MetrixLoss",
    "MultiSimilarityLoss",
    "NormDirectionLoss",
    "PairContrastiveLoss",
    "ProtoTripletLoss",
    "ProxyAnchorLoss",
    "SBCLLoss",
    "SigmoidPairLoss",
    "SimLAPLoss",
    "SoftmaxLoss",
    "StarbucksLoss",
    "SupConLoss",
    "TripletLoss",
    "TwoDMatryoshkaLoss",
]
