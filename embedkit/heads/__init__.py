"""What is fitted on vectors that no longer change: scikit-learn estimators, kept without pickle."""

from embedkit.heads.conformal import ConformalClassifier
from embedkit.heads.encoder_transformer import EncoderTransformer
from embedkit.heads.frechet import FrechetClassifier
from embedkit.heads.funnelling import FunnellingClassifier
from embedkit.heads.gaussian import GaussianClassifier
from embedkit.heads.gaussian_mixture import SemiSupervisedGaussianMixture
from embedkit.heads.label_metrics import tree_distances
from embedkit.heads.label_names import LabelNameClassifier
from embedkit.heads.label_sets import ConformalLabelSets
from embedkit.heads.novel_kmeans import NovelClassKMeans
from embedkit.heads.prototype import PrototypeClassifier
from embedkit.heads.random_feature import RandomFeatureClassifier
from embedkit.heads.ridge_aligner import RidgeAligner
from embedkit.heads.subspace import SubspaceClassifier
from embedkit.heads.zero_shot import ZeroShotClassifier

__all__ = [
    "ConformalClassifier",
    "ConformalLabelSets",
    "EncoderTransformer",
    "FrechetClassifier",
    "FunnellingClassifier",
    "GaussianClassifier",
    "LabelNameClassifier",
    "NovelClassKMeans",
    "PrototypeClassifier",
    "RandomFeatureClassifier",
    "RidgeAligner",
    "SemiSupervisedGaussianMixture",
    "SubspaceClassifier",
    "ZeroShotClassifier",
    "tree_distances",
]
