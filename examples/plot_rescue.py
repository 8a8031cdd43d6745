"""
My model has collapsed: can it be rescued?
==========================================

Often, without starting anew: `rescue` trains a copy on from the collapsed weights, with
alignment, and certifies both on rows that you hold out. Where the code is collapsed,
alignment still pulls at it, in another direction for each component of the teacher.
"""

from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE, rescue
from skvae.datasets import digits
from skvae.displays import CertificateDisplay, LatentCodeDisplay, MarginHistoryDisplay

X_train, X_test = train_test_split(digits(), test_size=0.3, random_state=0)

# The decoder's noise is above every eigenvalue of the data: a code buys no likelihood.
collapsed = TeacherGuidedVAE(
    latent_dim=8,
    hidden_layer_sizes=(64,),
    decoder_variance=1.0,
    alignment_weight=0,
    max_epochs=25,
    lr=3e-3,
    random_state=0,
).fit(X_train)
certificate = ConstantCollapseCertificate(latent="sample")
rescued, before, after = rescue(collapsed, X_train, X_test=X_test, certificate=certificate)
assert (before.verdict, after.verdict) == ("collapsed", "certified")
print(before)

# %%
print(after)

# %%
CertificateDisplay.from_report({"before": before, "after": after})

# %%
# The epochs of both trainings, the second from where the first ended. Bounds in training are
# of rows that nothing has seen; a rescue has none, as its donor has seen them all.

MarginHistoryDisplay.from_estimator({"collapsed": collapsed, "rescued": rescued})

# %%
# The code of the rescued model, coloured by what the teacher says.

LatentCodeDisplay.from_estimator(rescued, X_test)
