"""
How do I certify a model of pythae?
===================================

By an adapter of five lines, which hands over its posterior: means and log variances. A probe
is then judged at draws of the code, and so the certificate is one for what the decoder sees.
"""

import tempfile

import numpy as np
import torch
from pythae.models import VAE, VAEConfig
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from sklearn.model_selection import train_test_split

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.datasets import digits

X = digits().astype(np.float32)
X_train, X_test = train_test_split(X, test_size=0.4, random_state=0)
model = VAE(VAEConfig(input_dim=(64,), latent_dim=8))
training = BaseTrainerConfig(
    output_dir=tempfile.mkdtemp(), num_epochs=15, learning_rate=3e-3, no_cuda=True
)
TrainingPipeline(training_config=training, model=model)(train_data=X_train)


class Adapter:
    def posterior(self, X):
        with torch.inference_mode():
            found = model.eval().cpu().encoder(torch.as_tensor(X))
        return found.embedding.numpy(), found.log_covariance.numpy()


teacher = GaussianMixtureTeacher(random_state=0).fit(X_train)
report = ConstantCollapseCertificate(teacher=teacher).certify(Adapter(), X_test)
print(report)

# %%
# The mean tells rows apart, and no draw does: pythae's decoder has a noise of one beside
# pixels between zero and one, at which a code does not pay, and this model has collapsed. Its
# means alone would not have told.

report.plot()
