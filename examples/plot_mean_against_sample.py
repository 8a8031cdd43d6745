"""
Mean or sample: which read should decide?
=========================================

The published certificate reads the posterior mean. A mean can be had cheaply: an encoder may
write the teacher into means of size 0.01, in noise of size 1. Such a code is not constant,
and rightly certified at the mean, but a draw of it, which is all that the decoder sees, has
lost next to all. Where that matters, let ``latent="sample"`` decide.
"""

import warnings

import numpy as np
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import CertificateDisplay, LatentCodeDisplay
from skvae.exceptions import WeakAlignmentWarning

X_train, X_test = train_test_split(digits(), test_size=0.5, random_state=0)

# The decoder's noise is so large that a code buys no likelihood, and alignment weighs no more
# than the rate, of which `fit` warns.
warnings.simplefilter("ignore", WeakAlignmentWarning)
setting = {
    "latent_dim": 8,
    "hidden_layer_sizes": (64,),
    "decoder_variance": 100.0,
    "max_epochs": 60,
    "lr": 3e-3,
    "random_state": 0,
}
at_mean = TeacherGuidedVAE(alignment_weight=1.0, witness_input="mean", **setting).fit(X_train)
at_sample = TeacherGuidedVAE(witness_input="sample", **setting).fit(X_train)

reports = {
    f"trained on the {name}": ConstantCollapseCertificate(latent="sample").certify(vae, X_test)
    for name, vae in (("mean", at_mean), ("sample", at_sample))
}
first, second = reports.values()
assert first.lower_bound_mean > 0 > first.lower_bound_sample
assert second.certified
CertificateDisplay.from_report(reports)

# %%
# The means of the first model tell components apart, and are far smaller than their noise:

mean, log_variance = at_mean.posterior(X_test)
noise = np.exp(log_variance / 2).mean()
print(f"standard deviation of the means {mean.std():.3f}, of the noise {noise:.3f}")
LatentCodeDisplay.from_estimator(at_mean, X_test)

# %%
# Its report says so, and what to do.

print(first)
