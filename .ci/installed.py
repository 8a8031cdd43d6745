"""What an installed skvae must do: what its page on an index says, and a small fit."""

import doctest
import importlib.metadata
import pickle
import re
from pathlib import Path

import numpy as np
import sklearn
import torch

import skvae

assert "site-packages" in Path(skvae.__file__).parts, skvae.__file__
page = importlib.metadata.metadata("skvae").get_payload()
# A page of an index has no files beside it.
relative = re.findall(r"\]\((?!https://)[^)]*\)", page)
assert relative == [], relative
examples = doctest.DocTestParser().get_doctest(page, {}, "README", None, 0)
runner = doctest.DocTestRunner()
runner.run(examples)
assert runner.tries > 0
assert runner.failures == 0

X = skvae.datasets.digits()
vae = skvae.TeacherGuidedVAE(latent_dim=8, max_epochs=3, device="cpu", random_state=0)
vae.fit(X[::2])
loaded = pickle.loads(pickle.dumps(vae))
np.testing.assert_array_equal(loaded.transform(X), vae.transform(X))
certificate = skvae.ConstantCollapseCertificate()
assert certificate.certify(loaded, X[1::2]) == certificate.certify(vae, X[1::2])
versions = {"numpy": np.__version__, "torch": torch.__version__, "sklearn": sklearn.__version__}
print(f"skvae {skvae.__version__} does what its page says, with {versions}")
