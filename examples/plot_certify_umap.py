"""
Can I certify a map by UMAP?
============================

As any code: UMAP has `transform`, and a probe does the rest. What a certificate adds to a
pretty map is that it is judged on rows that the map was not made of.
"""

from sklearn.model_selection import train_test_split
from umap import UMAP

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.datasets import digits
from skvae.displays import LatentCodeDisplay

X_train, X_test = train_test_split(digits(), test_size=0.4, random_state=0)
teacher = GaussianMixtureTeacher(random_state=0).fit(X_train)
umap = UMAP(n_components=2, random_state=0, n_jobs=1).fit(X_train)
report = ConstantCollapseCertificate(teacher=teacher).certify(umap, X_test)
assert report.certified
print(report)

# %%
LatentCodeDisplay.from_estimator(umap, X_test, teacher.predict_proba(X_test).argmax(axis=1))
