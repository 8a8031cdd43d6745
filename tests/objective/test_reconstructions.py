"""Terms of tables: densities that integrate or sum to one, and what leaves the sum."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skvae.objective import categorical_reconstruction, student_t_reconstruction


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@given(
    x=st.floats(-50, 50),
    mean=st.floats(-5, 5),
    log_variance=st.floats(-6, 6),
    degrees=st.floats(2.02, 200),
)
def test_student_is_that_of_scipy(x, mean, log_variance, degrees):
    scale = math.exp(0.5 * log_variance) * math.sqrt((degrees - 2) / degrees)
    found = student_t_reconstruction(
        column(x), column(mean), column(log_variance)[0], column(degrees)[0]
    )
    expected = -stats.t.logpdf(x, degrees, loc=mean, scale=scale)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("degrees", [2.5, 5.0, 40.0])
def test_student_integrates_to_one_and_has_the_variance_that_it_is_told(degrees):
    # Equal steps of the angle reach far out, where the tail still weighs.
    angle = torch.linspace(-math.pi / 2, math.pi / 2, 400_001, dtype=torch.float64)[1:-1]
    x = torch.tan(angle)
    cost = student_t_reconstruction(
        x[:, None], column(0.3), column(math.log(1.7))[0], column(degrees)[0]
    )
    density = torch.exp(-cost) / torch.cos(angle).square()
    assert torch.trapezoid(density, angle).item() == pytest.approx(1.0, abs=1e-6)
    if degrees > 4:
        variance = torch.trapezoid(density * (x - 0.3).square(), angle).item()
        assert variance == pytest.approx(1.7, rel=1e-3)


def test_student_of_many_degrees_is_gaussian():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    found = student_t_reconstruction(x, column(0.5), column(0.2)[0], column(1e7)[0])
    expected = -stats.norm.logpdf(x[:, 0], 0.5, math.exp(0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_of_student_are_the_closed_form():
    degrees, variance, x = 4.0, 1.3, 2.0
    mean = column(0.5).requires_grad_()
    log_variance = column(math.log(variance))[0].requires_grad_()
    student_t_reconstruction(column(x), mean, log_variance, column(degrees)[0]).sum().backward()
    square = variance * (degrees - 2) / degrees
    residual = x - 0.5
    weight = (degrees + 1) / (degrees * square + residual**2)
    assert mean.grad.item() == pytest.approx(-weight * residual)
    assert log_variance.grad.item() == pytest.approx(0.5 * (1 - weight * residual**2))


def blocks():
    """Logits of two columns, of which the second has a level less."""
    logits = torch.tensor([[[0.3, -1.0, 2.0], [0.5, 1.5, -math.inf]]], dtype=torch.float64)
    return logits, [(i, j) for i in range(3) for j in range(2)]


def test_categorical_probabilities_sum_to_one():
    logits, outcomes = blocks()
    total = 0.0
    for i, j in outcomes:
        x = torch.zeros_like(logits)
        x[0, 0, i] = x[0, 1, j] = 1.0
        total += torch.exp(-categorical_reconstruction(x, logits)).item()
    assert total == pytest.approx(1.0, abs=1e-12)


def test_gradient_of_categorical_is_probabilities_less_what_came():
    logits, _ = blocks()
    x = torch.zeros_like(logits)
    x[0, 0, 1] = x[0, 1, 0] = 1.0
    logits.requires_grad_()
    categorical_reconstruction(x, logits).sum().backward()
    torch.testing.assert_close(logits.grad, torch.softmax(logits.detach(), dim=2) - x)


def test_what_is_not_observed_leaves_the_sum_and_has_no_gradient():
    logits, _ = blocks()
    x = torch.zeros_like(logits)
    x[0, 0, 1] = 1.0
    x[0, 1] = torch.nan
    logits.requires_grad_()
    observed = torch.tensor([[1.0, 0.0]])
    found = categorical_reconstruction(x, logits, observed)
    alone = categorical_reconstruction(x[:, :1], logits[:, :1])
    torch.testing.assert_close(found, alone)
    found.sum().backward()
    assert torch.equal(logits.grad[0, 1], torch.zeros(3, dtype=torch.float64))
    mean = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[2.0, 7.0]], dtype=torch.float64)
    zeros = torch.zeros(2, dtype=torch.float64)
    masked = student_t_reconstruction(
        rows, mean, zeros, zeros + 5, torch.tensor([[True, False]])
    )
    one = student_t_reconstruction(rows[:, :1], mean[:, :1], zeros[:1], zeros[:1] + 5)
    torch.testing.assert_close(masked, one)
    masked.sum().backward()
    assert mean.grad[0, 1] == 0
