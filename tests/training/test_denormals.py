"""Denormal numbers are zero inside, and what they were outside."""

import pytest
import torch

from skvae.training.denormals import denormals_are_zero, without_denormals

can_flush = torch.set_flush_denormal(False)
pytestmark = pytest.mark.skipif(not can_flush, reason="the processor keeps denormals")
DENORMAL = 1e-40


def doubled():
    return (2 * torch.tensor(DENORMAL)).item()


def test_restored():
    assert doubled() > 0
    with without_denormals():
        assert denormals_are_zero()
        assert doubled() == 0
        with without_denormals():
            pass
        assert doubled() == 0
    assert doubled() > 0
    with pytest.raises(KeyError), without_denormals():
        raise KeyError
    assert not denormals_are_zero()


def test_fit_leaves_them_as_they_were(small_vae, clusters):
    small_vae(max_epochs=1).fit(clusters)
    assert doubled() > 0
