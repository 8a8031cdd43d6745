"""
How do I use the encoder without Python?
========================================

Export it as ONNX: rows go in, in their own units, means and log variances come out. It wants
``pip install 'skvae[export]'``; what runs the file needs nothing of skvae.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits

X_train, X_test = train_test_split(digits(), test_size=0.4, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=4, hidden_layer_sizes=(64,), max_epochs=25, lr=3e-3, random_state=0
).fit(X_train)

path = Path(tempfile.mkdtemp(), "encoder.onnx")
vae.export(path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

# %%
# Any program that runs ONNX would do the same; a batch may have any number of rows.

session = onnxruntime.InferenceSession(path)
means, log_variances = session.run(None, {"rows": X_test.astype(np.float32)})

figure, ax = plt.subplots(figsize=(4.2, 4), layout="constrained")
ax.plot(vae.transform(X_test), means, ".", markersize=3)
ax.set(xlabel="code by skvae", ylabel="code by onnxruntime")
furthest = np.abs(vae.transform(X_test) - means).max()
assert furthest < 1e-4
print(f"furthest apart: {furthest:.1g}")

# %%
# Certify what is deployed: the file's own posterior, not the model that it came from.


class Deployed:
    def posterior(self, X):
        return session.run(None, {"rows": np.asarray(X, dtype=np.float32)})


certificate = ConstantCollapseCertificate(teacher=vae.teacher_)
print(certificate.certify(Deployed(), X_test).line())
