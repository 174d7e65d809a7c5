import math

import pytest
import torch

from embedkit.errors import InputError
from embedkit.losses import ClassRelationLoss


def logits(count=5, student=6, teacher=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, width, generator=generator, dtype=torch.float64) for width in (student, teacher))


def test_the_formula_in_loops_gives_the_same():
    student, teacher = logits()
    masses, lacking = [], []
    for own, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        exponentials = [math.exp(each / 0.5) for each in own]
        masses.append(sum(exponentials[:4]) / sum(exponentials))
        q, p = ([math.exp(each / 1.5) for each in some] for some in (theirs, own[:4]))
        lacking.append(-sum(a / sum(q) * math.log(b / sum(p)) for a, b in zip(q, p, strict=True)))
    mean = sum(masses) / 5
    expected = 9 * sum(mass / mean * each for mass, each in zip(masses, lacking, strict=True)) / 5
    assert ClassRelationLoss(temperature=0.5, softening=3)(student, teacher).item() == pytest.approx(expected)


def test_worked_by_hand():
    """q = p = (1/2, 1/2), ln 2 each; masses 2/3 and 2/4 weigh 8/7 and 6/7, which is 1 on average."""
    student = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, math.log(2)]])
    value = ClassRelationLoss(temperature=1.0, softening=2.0)(student, torch.zeros(2, 2))
    assert value.item() == pytest.approx(4 * math.log(2))
    tilted = torch.tensor(
        [[0.0, 0.0, 0.0], [0.0, math.log(9), math.log(10)]]
    )  # p = 1/4, 3/4 when softened; masses equal
    tilted[0, 2] = math.log(2)
    value = ClassRelationLoss(temperature=1.0, softening=2.0)(tilted, torch.zeros(2, 2))
    assert value.item() == pytest.approx(4 * (math.log(2) + math.log(16 / 3) / 2) / 2)


def test_a_student_that_equals_its_teacher_pays_the_entropy():
    _, teacher = logits()
    q = (teacher / 2).softmax(dim=1)
    entropy = -(q * q.log()).sum(dim=1).mean()
    torch.testing.assert_close(ClassRelationLoss(temperature=0.5, softening=4)(teacher, teacher), 16 * entropy)


def test_nothing_is_cheaper_than_the_teacher():
    student, teacher = logits(student=4)
    loss = ClassRelationLoss()
    assert loss(teacher, teacher) < loss(student, teacher)
    gradient = torch.autograd.functional.jacobian(lambda own: loss(own, teacher), teacher)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-12, rtol=0)


def test_weights_are_one_on_average_and_learn():
    """Where all rows lack the same, weights of mean 1 drop out; else the student gains by doubting the worse row."""
    student, _ = logits()
    same = ClassRelationLoss(temperature=1.0, softening=1.0)
    teacher = torch.zeros(5, 4, dtype=torch.float64)
    student[:, :4] = student[0, :4]
    lacking = -torch.log_softmax(student[0, :4], dim=0).mean()
    torch.testing.assert_close(same(student, teacher), lacking)
    student, teacher = logits()
    student.requires_grad_()
    same(student, teacher).backward()
    assert (student.grad[:, 4:] != 0).all()


def test_a_shift_of_a_row_changes_nothing():
    student, teacher = logits()
    loss, shift = ClassRelationLoss(), torch.arange(5.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(loss(student + shift, teacher - 3 * shift), loss(student, teacher))


def test_a_student_that_is_sure_of_novel_classes_stays_finite():
    student = torch.tensor([[-300.0, 0.0, 300.0], [0.0, 0.0, 300.0]], requires_grad=True)
    value = ClassRelationLoss(temperature=0.1)(student, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_shapes_and_numbers_are_checked():
    with pytest.raises(InputError, match=r"its classes first; received student \(2, 3\).*teacher \(2, 4\)"):
        ClassRelationLoss()(torch.ones(2, 3), torch.ones(2, 4))
    for wrong in ({"temperature": 0}, {"softening": -1.0}, {"softening": "4"}):
        with pytest.raises(InputError, match="must be a finite number above 0"):
            ClassRelationLoss(**wrong)
