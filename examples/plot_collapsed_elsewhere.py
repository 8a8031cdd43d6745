"""
A model of another library looks alive: is it?
==============================================

A classifier of its posterior means finds the digits, so the code seems to be in order. But no
decoder ever sees a mean: it sees a draw, and draws may have lost all of it. A certificate has
both reads. This VAE is plain torch, trained where the decoder's noise makes a code worthless;
`Adapter` is all it takes to certify it.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher
from skvae.datasets import load

digits = load("digits")
X_train, X_test, y_train, y_test = train_test_split(
    digits.data.astype(np.float32), digits.target, test_size=0.5, random_state=0
)
torch.manual_seed(0)
encoder = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 16))
decoder = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
for _ in range(30):
    for x in torch.from_numpy(X_train[torch.randperm(len(X_train))]).split(64):
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        loss = (0.5 * (decoder(z) - x).square().sum(dim=1) + rate).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %%
# What a report needs of a model of any library: the posterior, means and log variances.


class Adapter:
    def posterior(self, X):
        with torch.inference_mode():
            mean, log_variance = encoder(torch.from_numpy(X)).chunk(2, dim=1)
        return mean.numpy(), log_variance.numpy()


means = {name: Adapter().posterior(X)[0] for name, X in (("train", X_train), ("test", X_test))}
classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
accuracy = classifier.fit(means["train"], y_train).score(means["test"], y_test)
print(f"A classifier of the means gets {accuracy:.0%} of the digits right.")

# %%
# At the mean the code is certified, and rightly so: it is not constant. At a draw, which is
# what decides, it is not.

teacher = GaussianMixtureTeacher(random_state=0).fit(X_train)
report = ConstantCollapseCertificate(teacher=teacher).certify(Adapter(), X_test)
assert report.lower_bound_mean > 0 > report.lower_bound_sample
print(report)

# %%
report.plot()
