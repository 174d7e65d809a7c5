import numpy as np
import pytest
from torch import nn

from embedkit.encoders.image import conv_encoder, dual_encoder
from embedkit.losses import PairContrastiveLoss
from embedkit.training.fit import fit
from embedkit.training.freezing import frozen

PICTURES = list(np.random.default_rng(0).integers(0, 256, size=(4, 8, 8, 3), dtype=np.uint8))
TEXTS = ["a cat", "the dog barks", "red", "one two"]


@pytest.mark.parametrize("name", ["image", "text"])
def test_a_frozen_tower_stays_and_the_other_learns(make_encoder, name):
    image = conv_encoder(widths=(4, 8), dim=6, device="cpu")
    encoder = dual_encoder(image, make_encoder("bert"), dim=10, device="cpu")
    before = encoder.encode([*PICTURES, *TEXTS])
    with frozen(encoder[0].sub_modules[name]):
        fit(encoder, {"image": PICTURES, "text": TEXTS}, PairContrastiveLoss(), max_steps=3, learning_rate=1e-2)
    change = np.abs(encoder.encode([*PICTURES, *TEXTS]) - before).max(axis=1).reshape(2, 4).max(axis=1)
    stays = [name == "image", name == "text"]
    assert (change == 0).tolist() == stays


def test_all_is_as_before_afterwards_even_when_training_fails():
    part = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    part[0].bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(part):
        assert not any(each.requires_grad for each in part.parameters())
        part.train()
        assert not part[1].training
        raise ZeroDivisionError
    assert (part[0].weight.requires_grad, part[0].bias.requires_grad) == (True, False)
    assert part.train()[1].training
