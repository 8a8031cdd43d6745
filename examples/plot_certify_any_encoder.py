"""
Can I certify an encoder that is no VAE, as PCA?
================================================

Yes: anything with `transform`, and any array of codes. A probe is fitted to the codes alone
and judged on rows that it has not seen. So that you see it refuse something too, the codes
are then ruined in three ways.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.datasets import digits
from skvae.displays import CertificateDisplay, LatentCodeDisplay

X_train, X_test = train_test_split(digits(), test_size=0.5, random_state=0)
teacher = GaussianMixtureTeacher(random_state=0).fit(X_train)
certificate = ConstantCollapseCertificate(teacher=teacher)

pca = PCA(8, random_state=0).fit(X_train)
reports = {"PCA": certificate.certify(pca, X_test)}
assert reports["PCA"].certified
print(reports["PCA"])

# %%
LatentCodeDisplay.from_estimator(pca, X_test, teacher.predict_proba(X_test).argmax(axis=1))

# %%
# Shuffled codes are those of other rows: they have all that PCA's have, and nothing to do with
# x.

rng = np.random.default_rng(0)
codes = pca.transform(X_test)
ruined = {
    "constants": np.ones_like(codes),
    "noise": rng.standard_normal(codes.shape),
    "shuffled rows": rng.permutation(codes),
}
for name, other in ruined.items():
    reports[name] = certificate.certify(other, X_test)
    print(f"{name}: {reports[name].verdict}, bound {reports[name].lower_bound:.3f} nats")
CertificateDisplay.from_report(reports)
