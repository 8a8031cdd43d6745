"""
How do I score anomalies?
=========================

`score_samples` is a lower bound on the log density of each row, in nats: rows unlike those of
`fit` score low. Train on what is usual, here benign tumours, and rank what comes.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

X, is_benign = load_breast_cancer(return_X_y=True)
usual, other = X[is_benign == 1], X[is_benign == 0]
train, test = train_test_split(usual, test_size=0.4, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=4, hidden_layer_sizes=(64,), max_epochs=60, lr=3e-3, random_state=0
).fit(train)

scores = {"benign, held out": vae.score_samples(test), "malignant": vae.score_samples(other)}
values = np.concatenate(list(scores.values()))
labels = np.repeat([0, 1], [len(test), len(other)])
print(f"area under the ROC curve: {roc_auc_score(labels, -values):.3f}")

# %%
# Scores have a long tail: a few malignant rows lie hundreds of nats below, and are drawn at
# the edge.

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
low, high = np.quantile(values, 0.1), values.max()
for (name, found), colour in zip(scores.items(), ("#0072B2", "#D55E00"), strict=True):
    ax.hist(
        np.maximum(found, low), np.linspace(low, high, 40), color=colour, alpha=0.6, label=name
    )
ax.set(xlabel="ELBO of the row (nats)", ylabel="rows")
ax.legend(frameon=False)

# %%
# The certificate says something else: that the code of benign rows is not constant. It does
# not say that the score is a good one; the area above does, where there are labels to compute
# it by.

print(ConstantCollapseCertificate().certify(vae, test).line())
