"""Design a margin before training, and keep one where the full KL weight would lose it.

Run with ``python examples/design_and_guard.py``; it takes a few seconds. The simplex witness
is fixed, so its best codes, and what they are worth, are known in advance. The guard then
trains on where collapse is the optimum: alignment a tenth of beta.
"""

import warnings

from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.exceptions import UncertifiedWarning, WeakAlignmentWarning
from skvae.protocol import collapse_prone_variance

X_train, X_test = train_test_split(digits(), test_size=0.2, random_state=0)
setting = {
    "latent_dim": 10,
    "hidden_layer_sizes": (128,),
    "lr": 2e-3,
    "max_epochs": 60,
    "early_stopping": False,
    "witness": "simplex",
    "teacher": FrozenEstimator(GaussianMixtureTeacher(random_state=0).fit(X_train)),
    "decoder_variance": collapse_prone_variance(X_train),
    "random_state": 0,
}
certificate = ConstantCollapseCertificate(latent="sample")

vae = TeacherGuidedVAE(**setting, prefit_epochs=20).fit(X_train)
print("nats at the sample read, on the training rows")
print(f"designed before training:       {vae.designed_margin_:.3f}")
print(f"proved of what costs no more:   {vae.design_.proved_margin:.3f}")
print(f"reached in training:            {vae.history_[-1]['margin']:.3f}")
print(certificate.certify(vae, X_test))

# The plain run is meant to lose its certificate.
warnings.simplefilter("ignore", UncertifiedWarning)
warnings.simplefilter("ignore", WeakAlignmentWarning)
for guard in (None, 0.5):
    later = TeacherGuidedVAE(**setting, warm_start=vae, alignment_weight=0.1, guard=guard)
    report = certificate.certify(later.fit(X_train), X_test)
    print(f"alignment a tenth of beta, guard {guard}: {report.verdict}")
