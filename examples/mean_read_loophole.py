"""A code that is certified at its mean, and carries next to nothing.

Run with ``python examples/mean_read_loophole.py``; it takes a few seconds. The decoder's noise
is so large that a code buys no likelihood, and alignment weighs no more than the rate: a
witness that reads draws of the code would collapse here. This one is trained on the posterior
mean. So the encoder writes the teacher into means far smaller than the posterior's noise: not
constant, and rightly certified at the mean, but lost in any draw of the code. (`fit` warns of
the weight.)
"""

from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits

X_train, X_test = train_test_split(digits(), test_size=0.5, random_state=0)
vae = TeacherGuidedVAE(
    latent_dim=8,
    decoder_variance=100.0,
    witness_input="mean",
    alignment_weight=1.0,
    lr=2e-3,
    random_state=0,
).fit(X_train)

print("Deciding at the mean")
print(ConstantCollapseCertificate().certify(vae, X_test))
verdict = ConstantCollapseCertificate(latent="sample").certify(vae, X_test).verdict
print(f"\nDeciding at the sample: {verdict}")
