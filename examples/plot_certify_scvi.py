"""
How do I certify a model of scvi-tools?
=======================================

`get_latent_representation` has the posterior, means and variances, so an adapter is short.
The counts here are drawn: three kinds of cells, that differ in a tenth of their genes.
"""

import anndata
import numpy as np
import scvi
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher

rng = np.random.default_rng(0)
kinds = rng.integers(0, 3, 900)
rates = rng.gamma(2.0, 1.0, 100) * np.where(rng.random((3, 100)) < 0.1, 5.0, 1.0)
counts = rng.poisson(rates[kinds] * rng.gamma(5.0, 0.2, (900, 1))).astype(np.float32)
train, test = train_test_split(counts, test_size=0.4, random_state=0)

scvi.settings.seed = 0
cells = anndata.AnnData(train)
scvi.model.SCVI.setup_anndata(cells)
model = scvi.model.SCVI(cells, n_latent=5, n_hidden=64)
model.train(max_epochs=30, accelerator="cpu", enable_progress_bar=False, logger=False)


class Adapter:
    def posterior(self, X):
        means, variances = model.get_latent_representation(
            anndata.AnnData(np.asarray(X)), return_dist=True
        )
        return means, np.log(variances)


# %%
# The teacher sees logarithms of counts of one size.

teacher = GaussianMixtureTeacher(n_components=3, size="total", random_state=0).fit(train)
report = ConstantCollapseCertificate(teacher=teacher).certify(Adapter(), test)
print(report)

# %%
report.plot()
