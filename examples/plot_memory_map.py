"""
My table does not fit into memory: what then?
=============================================

Map the file. A memory map goes into `fit` and into the certificate as an array does, is read
block by block, and is never held as a whole.
"""

import tempfile
from pathlib import Path

import numpy as np

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.displays import CertificateDisplay

# A table that stands for yours: 60,000 rows of 20 columns around five centres, written a part
# at a time.
path = Path(tempfile.mkdtemp(), "table.npy")
rng = np.random.default_rng(0)
centres = 2 * rng.standard_normal((5, 20))
table = np.lib.format.open_memmap(path, "w+", np.float32, (60_000, 20))
for start in range(0, len(table), 10_000):
    of_centre = rng.integers(0, 5, 10_000)
    table[start : start + 10_000] = centres[of_centre] + rng.standard_normal((10_000, 20))
table.flush()
print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")

# %%
# A few passes are many steps here. The teacher is fitted to `max_teacher_rows` of them.

X = np.load(path, mmap_mode="r")
vae = TeacherGuidedVAE(
    latent_dim=8,
    hidden_layer_sizes=(64,),
    max_epochs=3,
    batch_size=512,
    max_teacher_rows=5_000,
    lr=3e-3,
    random_state=0,
).fit(X[:50_000])

# %%
# Certificates read maps, and streams of batches too, once. Of many rows the bound lies close
# to the margin.

certificate = ConstantCollapseCertificate(latent="sample")
report = certificate.certify(vae, X[50_000:])
assert report.certified
print(report.line())
stream = (X[start : start + 2_000] for start in range(50_000, 60_000, 2_000))
assert certificate.certify(vae, stream).lower_bound == report.lower_bound
CertificateDisplay.from_report(report)
