"""Let a classifier teach: the code is held to what labels say, and certified for it.

Run with ``python examples/labels_as_teacher.py``; it takes a few seconds. The teacher is a
pipeline with `predict_proba`, fitted on the labels inside `fit`.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

teacher = make_pipeline(StandardScaler(), LogisticRegression())
vae = TeacherGuidedVAE(latent_dim=4, teacher=teacher, random_state=0).fit(X_train, y_train)
print(ConstantCollapseCertificate().certify(vae, X_test))

probe = make_pipeline(StandardScaler(), LogisticRegression())
accuracy = probe.fit(vae.transform(X_train), y_train).score(vae.transform(X_test), y_test)
print(f"A linear classifier on the four-dimensional code gets {accuracy:.1%} right.")
