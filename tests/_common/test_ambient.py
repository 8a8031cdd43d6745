"""What torch and NumPy are set to outside changes nothing inside."""

import numpy as np
import pytest
import torch
from shared import READS

from skvae import ConstantCollapseCertificate
from skvae._common.ambient import undisturbed

MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "errors of floats": lambda: np.errstate(all="raise"),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_modes_outside_change_no_bit_of_what_is_read_or_fitted(
    small_vae, fitted, clusters, mode
):
    expected = {name: read(fitted, clusters) for name, read in READS.items()}
    refitted = {w: small_vae(max_epochs=30, witness=w).fit(clusters) for w in ("linear", "mlp")}
    with mode():
        for name, read in READS.items():
            np.testing.assert_array_equal(read(fitted, clusters), expected[name])
        assert fitted.sample(3).shape == (3, 4)
        fitted.inverse_transform(fitted.transform(clusters))
        for witness, before in refitted.items():
            again = small_vae(max_epochs=30, witness=witness).fit(clusters)
            np.testing.assert_array_equal(again.transform(clusters), before.transform(clusters))
            again.partial_fit(clusters)


def test_a_default_device_that_is_set_for_good_is_left_and_comes_back(fitted, clusters):
    expected = fitted.transform(clusters)
    torch.set_default_device("meta")
    try:
        np.testing.assert_array_equal(fitted.transform(clusters), expected)
        assert torch.empty(1).device.type == "meta"
    finally:
        torch.set_default_device(None)


def test_an_interrupt_gives_back_the_gradients(clusters):
    def interrupted():
        with undisturbed():
            torch.set_grad_enabled(False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.is_grad_enabled()


def test_probabilities_of_next_to_nothing_are_no_error_where_numpy_is_to_raise(
    fitted, clusters
):
    """Of rows that far apart most components and most posteriors have none that is a float."""
    far = 1e3 * clusters
    certificate = ConstantCollapseCertificate(probe=True)
    expected = fitted.teacher_proba(far), certificate.certify(fitted, clusters)
    before = np.geterr()
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(fitted.teacher_proba(far), expected[0])
        assert certificate.certify(fitted, clusters) == expected[1]
    assert np.geterr() == before
