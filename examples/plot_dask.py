"""
My rows are a Dask array: how do they get in?
=============================================

`fit` wants an array, or a memory map: write the training rows to one, a block at a time. A
certificate reads a stream of blocks, once, so that what is certified need not fit into
memory.
"""

import tempfile
from pathlib import Path

import dask.array as da
import numpy as np

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import CertificateDisplay

# An array that stands for yours.
rows = da.from_array(digits(), chunks=(300, 64))
training, held_out = rows[:1200], rows[1200:]

path = Path(tempfile.mkdtemp(), "training.npy")
mapped = np.lib.format.open_memmap(path, "w+", np.float32, training.shape)
da.store(training.astype(np.float32), mapped)
mapped.flush()

vae = TeacherGuidedVAE(
    latent_dim=8, hidden_layer_sizes=(64,), max_epochs=25, lr=3e-3, random_state=0
).fit(np.load(path, mmap_mode="r"))

# %%
# Blocks are computed as the certificate asks for them.

blocks = (block.compute() for block in held_out.blocks)
report = ConstantCollapseCertificate(latent="sample").certify(vae, blocks)
assert report.certified
print(report)

# %%
CertificateDisplay.from_report(report)
