import pytest
import torch

from embedkit.errors import InputError
from embedkit.modules.backbone import ConvNet


def pictures(n=3, side=8, seed=0):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def vectors(net, pixels):
    with torch.inference_mode():
        return net({"pixel_values": pixels})["sentence_embedding"]


def test_layer_by_layer_it_is_the_formula():
    net, pixels = ConvNet((4, 6), dim=5).eval(), pictures()
    states = pixels
    for convolution, norm, _, _ in net.blocks:
        states = torch.nn.functional.conv2d(states, convolution.weight, padding=1)
        states = (states - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        states = states.clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    pooled = torch.cat([states.flatten(2).mean(2), states.flatten(2).max(2).values], dim=1)
    torch.testing.assert_close(vectors(net, pixels), pooled @ net.linear.weight.T + net.linear.bias)


def test_by_hand_one_channel_that_copies_red():
    """Nothing but the middle of the kernel, on red: the maximum of each 2 x 2 is what counts."""
    net = ConvNet((1,), dim=2).eval()
    with torch.no_grad():
        net.blocks[0][0].weight.zero_()[0, 0, 1, 1] = 1
        net.linear.weight.copy_(torch.eye(2))
        net.linear.bias.zero_()
    pixels = torch.zeros(1, 3, 2, 4)
    pixels[0, 0] = torch.tensor([[1.0, 0.0, 5.0, -1.0], [2.0, 3.0, 0.0, 0.0]])
    torch.testing.assert_close(vectors(net, pixels), torch.tensor([[4.0, 5.0]]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [1, 5, 33])
def test_any_side_will_do(side):
    assert vectors(ConvNet((4, 4, 4), dim=5).eval(), pictures(side=side)).shape == (3, 5)


def test_equal_seeds_give_equal_weights_and_leave_the_generator_alone():
    state = torch.random.get_rng_state()
    one, same, other = (ConvNet((4,), dim=5, seed=seed).eval() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(vectors(one, pictures()), vectors(same, pictures()))
    assert not torch.equal(vectors(one, pictures()), vectors(other, pictures()))


def test_a_saved_one_is_the_same(tmp_path):
    net = ConvNet((4, 6), dim=5, seed=3)
    net({"pixel_values": pictures()})  # moves the running means
    net.save(str(tmp_path))
    again = ConvNet.load(str(tmp_path)).eval()
    assert torch.equal(vectors(again, pictures()), vectors(net.eval(), pictures()))


@pytest.mark.parametrize(("widths", "dim"), [((), 4), ((0,), 4), ((4.0,), 4), ((4,), 0), ((4,), True)])
def test_what_cannot_be_is_refused(widths, dim):
    with pytest.raises(InputError, match="whole numbers from 1"):
        ConvNet(widths, dim=dim)
