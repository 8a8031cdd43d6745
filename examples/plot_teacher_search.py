"""
Which teacher should I take?
============================

A certificate is relative to a teacher: one with few components leaves little to certify, one
with many sees distinctions that fresh rows do not bear out. `TeacherSearch` compares them
without training a single autoencoder: by the margin that could be designed for each.
"""

import pandas as pd
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE, TeacherSearch
from skvae.datasets import digits
from skvae.displays import TeacherWitnessDisplay

X_train, X_test = train_test_split(digits(), test_size=0.3, random_state=0)
search = TeacherSearch(
    {"n_components": [2, 5, 10, 20], "temperature": [1.0, 3.0]}, random_state=0
).fit(X_train)
print(f"chosen: {search.best_params_}")

# %%
# What was compared; the best comes first.

table = pd.DataFrame(search.results_).sort_values("rank")
shown = ["n_components", "params", "teacher_information", "margin", "stability", "score"]
table[shown].round(3)

# %%
# The search is a teacher itself: pass it, and it is run on the training rows inside `fit`, or
# take the one that it found.

vae = TeacherGuidedVAE(
    latent_dim=8,
    hidden_layer_sizes=(64,),
    teacher=search.best_teacher_,
    max_epochs=30,
    lr=3e-3,
    random_state=0,
).fit(X_train)
report = ConstantCollapseCertificate(latent="sample").certify(vae, X_test)
assert report.certified
print(report)

# %%
# Which of its components the witness takes for which:

TeacherWitnessDisplay.from_estimator(vae, X_test, latent="sample")
