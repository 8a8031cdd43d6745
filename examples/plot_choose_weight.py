"""
Which alignment weight should I take?
=====================================

The one with the best ELBO among those that are certified: a search of scikit-learn with two
scores, and `best_certified` as the rule to refit by.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import GridSearchCV, train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.model_selection import best_certified, elbo_scorer

X_train, X_test = train_test_split(digits(), test_size=0.3, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=8, hidden_layer_sizes=(64,), max_epochs=25, lr=3e-3, random_state=0
)
weights = [0, 1.5, 3, 10, 30]
search = GridSearchCV(
    vae,
    {"alignment_weight": weights},
    scoring={
        "elbo": elbo_scorer,
        "bound": ConstantCollapseCertificate(latent="sample", confidence=0.95),
    },
    refit=best_certified(),
    cv=2,
).fit(X_train)
print(f"chosen: {search.best_params_}")

# %%
# Both scores are of held-out rows, a mean over the folds.

figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6, 4.5), layout="constrained")
places = np.arange(len(weights))
above.plot(places, search.cv_results_["mean_test_bound"], "o-", color="#0072B2")
above.axhline(0, color="#4d4d4d", linestyle="--")
above.set_ylabel("lower bound (nats)")
below.plot(places, search.cv_results_["mean_test_elbo"], "o-", color="#D55E00")
below.axvline(search.best_index_, color="#b0b0b0", zorder=0)
below.set(ylabel="ELBO (nats a row)", xlabel="alignment weight", xticks=places)
below.set_xticklabels(weights)

# %%
# The search has seen its own scores: the bound that stands is that of rows it has not seen.

report = ConstantCollapseCertificate(latent="sample").certify(search.best_estimator_, X_test)
assert report.certified
print(report)
