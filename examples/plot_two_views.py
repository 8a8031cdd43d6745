"""
I have two views of each row: can one teach the code of the other?
==================================================================

Pass the second view as `X_teacher`: the teacher sees it, the encoder does not. The
certificate then says that the code of one view carries something of the other. Here are the
upper and the lower half of each digit.
"""

from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.displays import CertificateDisplay, TeacherWitnessDisplay

X_train, X_test = train_test_split(digits(), test_size=0.4, random_state=0)
upper_train, lower_train = X_train[:, :32], X_train[:, 32:]
upper_test, lower_test = X_test[:, :32], X_test[:, 32:]

vae = TeacherGuidedVAE(
    latent_dim=8,
    hidden_layer_sizes=(64,),
    teacher=GaussianMixtureTeacher(n_components=6, random_state=0),
    max_epochs=40,
    lr=3e-3,
    random_state=0,
).fit(upper_train, X_teacher=lower_train)
certificate = ConstantCollapseCertificate(latent="sample")
report = certificate.certify(vae, upper_test, X_teacher=lower_test)
assert report.certified
print(report)

# %%
# For comparison, the lower halves of other digits: there is nothing to be found in them.

shuffled = certificate.certify(vae, upper_test, X_teacher=lower_test[::-1])
assert not shuffled.certified
CertificateDisplay.from_report({"same digit": report, "another digit": shuffled})

# %%
# What the upper half says of the lower one: some components are told well, some not.

TeacherWitnessDisplay.from_estimator(vae, upper_test, X_teacher=lower_test, latent="sample")
