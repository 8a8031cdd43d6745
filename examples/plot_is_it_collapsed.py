"""
Is my VAE collapsed?
====================

A small rate or blurry pictures draw no line between a code that is lost and one that is
merely small. A certificate by probe does: a linear witness is fitted to the codes, and judged
on rows that it has not seen.

Two plain VAEs of the same digits, that differ in the noise of the decoder alone:
"""

from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import ImageGridDisplay, RateBoundDisplay
from skvae.protocol import collapse_prone_variance, informative_variance

X_train, X_test = train_test_split(digits(), test_size=0.4, random_state=0)
plain = {
    "latent_dim": 8,
    "hidden_layer_sizes": (64,),
    "alignment_weight": 0,
    "max_epochs": 40,
    "lr": 3e-3,
    "random_state": 0,
}
variances = {
    "little noise": informative_variance(X_train),
    "much noise": collapse_prone_variance(X_train),
}
certificate = ConstantCollapseCertificate(latent="sample", probe=True)
models, reports = {}, {}
for name, variance in variances.items():
    models[name] = TeacherGuidedVAE(decoder_variance=variance, **plain).fit(X_train)
    reports[name] = certificate.certify(models[name], X_test)
    print(f"{name}: rate {reports[name].rate:.3f} nats, {reports[name].verdict}")

# %%
# The first report says *uncertified*: a plain VAE never trains its own witness, so that this
# proves nothing. The probe finds the teacher in the code all the same. Of the other nothing
# shows that the code varies: *collapsed*.

print(reports["little noise"])

# %%
print(reports["much noise"])

# %%
# In the plane of rate and bound, the probes are the open markers: above the boundary a code is
# certified not to be constant in x.

RateBoundDisplay.from_report(reports)

# %%
# What it looks like: all rows are decoded to the same picture.

ImageGridDisplay.from_estimator(models["much noise"], X_test, image_shape=(1, 8, 8))
