"""
I have few labels: can they teach the code?
===========================================

A classifier that was fitted to a few labelled rows is a teacher like any other: its
probabilities for *all* rows, labelled or not, are what the code is held to. The labelled rows
have to be told apart from those that a bound is to speak of, so a `FrozenEstimator` says that
the teacher comes fitted.
"""

from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import SelfTrainingClassifier

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import load
from skvae.displays import LatentCodeDisplay, TeacherWitnessDisplay

digits = load("digits")
X_train, X_test, y_train, y_test = train_test_split(
    digits.data, digits.target, test_size=0.4, stratify=digits.target, random_state=0
)
few = y_train.copy()
few[100:] = -1  # the labels that nobody gave
teacher = SelfTrainingClassifier(LogisticRegression(C=10, max_iter=1000)).fit(X_train, few)

setting = {
    "latent_dim": 8,
    "hidden_layer_sizes": (64,),
    "max_epochs": 30,
    "lr": 3e-3,
    "random_state": 0,
}
taught = TeacherGuidedVAE(teacher=FrozenEstimator(teacher), **setting).fit(X_train)
report = ConstantCollapseCertificate(latent="sample").certify(taught, X_test)
assert report.certified
print(report)

# %%
# What a linear classifier makes of the codes, with the same hundred labels: those that were
# taught by labels, and those of a model whose teacher knew none. The witness of the first has
# learnt from what the teacher says of all rows.


def accuracy(vae):
    probe = LogisticRegression(max_iter=1000).fit(vae.transform(X_train[:100]), few[:100])
    return probe.score(vae.transform(X_test), y_test)


untaught = TeacherGuidedVAE(**setting).fit(X_train)
print(f"the teacher itself          {teacher.score(X_test, y_test):.1%}")
print(f"codes, taught by labels     {accuracy(taught):.1%}")
print(f"codes, taught by a mixture  {accuracy(untaught):.1%}")
answers = taught.witness_log_proba(X_test).argmax(axis=1)
print(f"the witness of the first    {(answers == y_test).mean():.1%}")

# %%
# The code, coloured by all labels of the held-out rows:

LatentCodeDisplay.from_estimator(taught, X_test, y_test)

# %%
TeacherWitnessDisplay.from_estimator(taught, X_test, latent="sample")
