"""From field vectors to one logit a record; each function composes a whole model, named after its method."""

from embedkit.modules.interaction.auto_int import AutoInt, autoint
from embedkit.modules.interaction.click_model import ClickModel
from embedkit.modules.interaction.dcn_v2 import DCNV2, dcnv2
from embedkit.modules.interaction.deep import DNN, dnn
from embedkit.modules.interaction.deep_fm import DeepFM, deepfm
from embedkit.modules.interaction.final_mlp import ContextGate, FinalMLP, dualmlp, finalmlp
from embedkit.modules.interaction.final_net import FinalNet, finalnet
from embedkit.modules.interaction.fm import FactorizationMachine, factorization_machine
from embedkit.modules.interaction.generated_features import FGCNN, fgcnn
from embedkit.modules.interaction.inner_product import IPNN, ipnn
from embedkit.modules.interaction.interaction import Interaction
from embedkit.modules.interaction.linear import LinearInteraction, logistic_regression

__all__ = [
    "DCNV2",
    "DNN",
    "FGCNN",
    "IPNN",
    "AutoInt",
    "ClickModel",
    "ContextGate",
    "DeepFM",
    "FactorizationMachine",
    "FinalMLP",
    "FinalNet",
    "Interaction",
    "LinearInteraction",
    "autoint",
    "dcnv2",
    "deepfm",
    "dnn",
    "dualmlp",
    "factorization_machine",
    "fgcnn",
    "finalmlp",
    "finalnet",
    "ipnn",
    "logistic_regression",
]
