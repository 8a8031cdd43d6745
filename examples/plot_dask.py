"""
My rows are a Dask array: how do they get in?
=============================================

As they are: `fit` reads the array once, block by block, into memory, or beyond 1 GiB into a
temporary file that it maps. A certificate computes one block after the other and holds none,
so that what is certified need not fit into memory.
"""

import dask.array as da

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import CertificateDisplay

# An array that stands for yours.
rows = da.from_array(digits(), chunks=(300, 64))
training, held_out = rows[:1200], rows[1200:]
vae = TeacherGuidedVAE(
    latent_dim=8, hidden_layer_sizes=(64,), max_epochs=25, lr=3e-3, random_state=0
).fit(training)

# %%
# Any stream of blocks will do too, as ``(block.compute() for block in held_out.blocks)``.

report = ConstantCollapseCertificate(latent="sample").certify(vae, held_out)
assert report.certified
print(report)

# %%
CertificateDisplay.from_report(report)
