"""Certify encoders that were never trained for it: PCA, and what is left when it is ruined.

Run with ``python examples/certify_any_encoder.py``; it takes a few seconds. A probe is fitted
to the codes alone and judged on rows that it has not seen.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.datasets import digits

X_train, X_test = train_test_split(digits(), test_size=0.5, random_state=0)
teacher = GaussianMixtureTeacher(random_state=0).fit(X_train)
certificate = ConstantCollapseCertificate(teacher=teacher)

pca = PCA(8, random_state=0).fit(X_train)
print(certificate.certify(pca, X_test))

rng = np.random.default_rng(0)
codes = pca.transform(X_test)
ruined = {
    "constants": np.ones_like(codes),
    "noise": rng.standard_normal(codes.shape),
    "shuffled rows": rng.permutation(codes),
}
for name, other in ruined.items():
    report = certificate.certify(other, X_test)
    print(f"\nCodes replaced by {name}: {report.verdict}, bound {report.lower_bound:.3f} nats")
