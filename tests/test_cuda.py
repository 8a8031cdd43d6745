"""What only a GPU can show; skipped where there is none."""

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_cpu_and_gpu_agree(small_vae, clusters):
    vae = small_vae(device="cuda").fit(clusters)
    assert vae.device_ == "cuda"
    codes = vae.transform(clusters)
    vae.net_.module_.to("cpu")
    vae.net_.device = "cpu"
    np.testing.assert_allclose(vae.transform(clusters), codes, atol=1e-4)
