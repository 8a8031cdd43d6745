"""Collapse a VAE, certify that nothing can be certified, and rescue it.

Run with ``python examples/collapse_and_rescue.py``; it takes a few seconds and prints the
certificate of each model on held-out digits.
"""

from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits

X_train, X_test = train_test_split(digits(), test_size=0.2, random_state=0)
certificate = ConstantCollapseCertificate(latent="sample")

# The decoder's noise is above every eigenvalue of the data: a code buys no likelihood.
setting = {
    "latent_dim": 8,
    "hidden_layer_sizes": (128,),
    "decoder_variance": 1.0,
    "lr": 2e-3,
    "random_state": 0,
}
collapsed = TeacherGuidedVAE(alignment_weight=0, **setting).fit(X_train)
print("Without alignment")
print(certificate.certify(collapsed, X_test))

rescued = TeacherGuidedVAE(alignment_weight=10, warm_start=collapsed, **setting).fit(X_train)
print("\nFrom the collapsed weights, with alignment")
print(certificate.certify(rescued, X_test))
