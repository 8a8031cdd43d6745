"""Draw the report of README, as ``report.png`` beside this file.

Run with ``python docs/images/report.py``; it takes some seconds.
"""

from pathlib import Path

from sklearn.datasets import load_breast_cancer

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE

X = load_breast_cancer().data
vae = TeacherGuidedVAE(random_state=0).fit(X[::2])
display = ConstantCollapseCertificate().certify(vae, X[1::2]).plot()
display.figure_.savefig(Path(__file__).parent / "report.png", dpi=110)
