"""
Can I fix a margin before training?
===================================

With a simplex witness, yes: it is not trained, so that its best codes, and what they are
worth, are known beforehand. Training need not reach the design; `design_.proved_margin` is
what every model has on the training rows whose alignment and rate cost no more than the
design's.
"""

import warnings

from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import MarginEnergyDisplay, MarginHistoryDisplay
from skvae.exceptions import UncertifiedWarning, WeakAlignmentWarning
from skvae.protocol import collapse_prone_variance

X_train, X_test = train_test_split(digits(), test_size=0.3, random_state=0)
setting = {
    "latent_dim": 10,
    "hidden_layer_sizes": (64,),
    "lr": 2e-3,
    "max_epochs": 40,
    "early_stopping": False,
    "witness": "simplex",
    "teacher": FrozenEstimator(GaussianMixtureTeacher(random_state=0).fit(X_train)),
    "decoder_variance": collapse_prone_variance(X_train),
    "random_state": 0,
}
vae = TeacherGuidedVAE(**setting, prefit_epochs=10).fit(X_train)
print("nats at the sample read, on the training rows")
print(f"designed before training:       {vae.designed_margin_:.3f}")
print(f"proved of what costs no more:   {vae.design_.proved_margin:.3f}")
print(f"reached in training:            {vae.history_[-1]['margin']:.3f}")

# %%
# The path of the designed codes, from the collapsed one at its foot to those that are read
# without error, and the epochs of the training beside it.

MarginEnergyDisplay.from_estimator(vae, X_train)

# %%
# On rows that nothing was fitted to:

certificate = ConstantCollapseCertificate(latent="sample")
report = certificate.certify(vae, X_test)
assert report.certified
print(report)

# %%
# A margin can be kept, too. Where alignment weighs a tenth of what the rate does, collapse is
# the optimum; a guard holds the weight of the rate back while the margin is below half a nat.

# The run without it is meant to lose its certificate.
warnings.simplefilter("ignore", UncertifiedWarning)
warnings.simplefilter("ignore", WeakAlignmentWarning)
models = {}
for guard in (None, 0.5):
    later = TeacherGuidedVAE(**setting, warm_start=vae, alignment_weight=0.1, guard=guard)
    models[f"guard {guard}"] = later.fit(X_train)
    print(f"guard {guard}: {certificate.certify(later, X_test).verdict}")
MarginHistoryDisplay.from_estimator(models)
