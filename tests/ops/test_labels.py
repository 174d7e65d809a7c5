import pytest
import torch

from embedkit.ops.labels import class_means, masked_softmax, mean_where, same_class

LABELS = torch.tensor([3, -1, 3, 8, 3])


def test_masks_in_loops():
    positives, negatives = same_class(LABELS)
    for row, one in enumerate(LABELS.tolist()):
        for column, other in enumerate(LABELS.tolist()):
            assert positives[row, column] == (row != column and one == other)
            assert negatives[row, column] == (one != other)


def test_masked_softmax_is_that_of_the_places_alone():
    logits, mask = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(4, 6, dtype=torch.bool)
    mask[0, [1, 4]] = mask[1, 2] = mask[2] = True
    found = masked_softmax(logits, mask)
    torch.testing.assert_close(found[0, [1, 4]], logits[0, [1, 4]].softmax(dim=0))
    assert found[1].tolist() == [0, 0, 1, 0, 0, 0]
    torch.testing.assert_close(found[2], logits[2].softmax(dim=0))
    assert (found[3] == 0).all()
    assert masked_softmax(torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.bool)).shape == (0, 0)


def test_rows_without_a_place_have_no_gradient():
    logits = torch.ones(2, 3, requires_grad=True)
    masked_softmax(logits, torch.zeros(2, 3, dtype=torch.bool)).sum().backward()
    assert (logits.grad == 0).all()


def test_the_mean_of_nothing_is_zero_with_a_gradient():
    values = torch.tensor([1.0, torch.inf], requires_grad=True)
    mean_where(values, torch.tensor([False, False])).backward()
    assert values.grad.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_means_in_loops(dtype):
    rows = torch.arange(10).reshape(5, 2).to(dtype)
    classes = class_means(rows, LABELS)
    assert classes.counts.tolist() == [1, 3, 1]
    assert classes.means.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for row, label in enumerate(LABELS):
        torch.testing.assert_close(
            classes.means[classes.codes[row]], rows[label == LABELS].to(classes.means).mean(dim=0)
        )
