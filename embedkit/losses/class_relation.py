"""Cr-KD: a student that learns novel classes keeps how a teacher relates each example to the known ones."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import InputError
from embedkit.losses.arguments import check_rows, described, positive


class ClassRelationLoss(nn.Module):
    """Cross-entropy of the known classes between a teacher that knows only these and a student (Cr-KD).

        loss = softening² · mean_i w_i · ( −Σ_c q_ic · log p_ic )
        q = softmax over the known classes of teacher / (temperature · softening)
        p = softmax over the known classes of student / (temperature · softening)
        w_i = m_i / mean_j m_j,   m_i = Σ_c known softmax over all classes of student_i / temperature

    An example of a novel class resembles some known classes more than others, and the teacher knows which. Those of
    which the student thinks that they are of a known class count most; the mean of w is 1, and the gradient flows
    through it. With a student that has only the known classes w is 1.

    Args:
        temperature: What logits are divided by where classes are told apart, as in the student's own loss; 0.1 suits
            cosines, 1 what a linear layer gives.
        softening: By how much softer both sides are compared, at 1 or above as a rule; its square keeps the size of
            the gradient.

    Raises:
        InputError: One of them is not above 0.

    Example:
        >>> logits = torch.zeros(1, 2)
        >>> round(ClassRelationLoss(softening=1.0)(logits, logits).item(), 4)  # the entropy of q: ln 2
        0.6931

    Reference:
        P. Gu, C. Zhang, R. Xu, X. He, "Class-relation Knowledge Distillation for Novel Class Discovery", ICCV 2023.

    Deviations:
        Logarithms are taken of sums of exponentials, so that no probability becomes 0. The rest of the paper's
        training, swapped predictions for novel classes, is not here.
    """

    def __init__(self, *, temperature: float = 0.1, softening: float = 4.0) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.softening = positive("softening", softening)

    def forward(self, student: Float[Tensor, "n classes"], teacher: Float[Tensor, "n known"]) -> Float[Tensor, ""]:
        """The loss of one batch.

        Args:
            student: Logits, or cosines to class weights, (n, classes), the known classes first.
            teacher: Those of the teacher, (n, known), known ≤ classes. Compute them without gradient.

        Returns:
            0-d; 0 for an empty batch.

        Raises:
            InputError: They are no floating tensors of as many rows, or the teacher has more classes.
        """
        _check_logits(student, teacher)
        own, theirs = (_in_full(logits) / self.temperature for logits in (student, teacher))
        num_known = theirs.shape[1]
        known = own[:, :num_known]
        wanted = functional.softmax(theirs / self.softening, dim=1)
        lacking = -(wanted * functional.log_softmax(known / self.softening, dim=1)).sum(dim=1)
        return self.softening**2 * (self._weights(own, known) * lacking).sum() / max(len(own), 1)

    @staticmethod
    def _weights(own: Tensor, known: Tensor) -> Tensor:
        # A softmax over the batch is the mass by its sum, also where all masses are too small for a number.
        log_mass = known.logsumexp(dim=1) - own.logsumexp(dim=1)
        return len(own) * functional.softmax(log_mass, dim=0)


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    check_rows(student=student)
    check_rows(teacher=teacher)
    if len(student) != len(teacher) or student.shape[1] < teacher.shape[1]:
        raise InputError(
            "student must have the rows of teacher, and its classes first; received "
            f"student {described(student)}, teacher {described(teacher)}"
        )


def _in_full(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
