"""
I have a torch loop of my own: how do I watch it for collapse?
==============================================================

`CollapseMonitor` is given codes, batch by batch, and what should be found in them. It asks
nothing of the loop: the same three lines serve Lightning, JAX and Keras.
"""

import torch
from sklearn.model_selection import train_test_split

from skvae import CollapseMonitor
from skvae.datasets import load
from skvae.displays import CertificateDisplay

digits = load("digits")
X = torch.tensor(digits.data).float()
X_train, X_valid, _, y_valid = train_test_split(X, digits.target, test_size=0.4, random_state=0)

torch.manual_seed(0)
encoder = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16))
decoder = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)

monitor = CollapseMonitor(held_out=True)  # labels of validation rows take a teacher's place
for epoch in range(1, 41):
    beta = epoch / 2  # a weight that rises for too long, and ends far too high
    for x in X_train[torch.randperm(len(X_train))].split(64):
        mean, log_variance = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        loss = (10 * (decoder(z) - x).square().sum(dim=1) + beta * rate).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 8 == 0:
        monitor.update(y_valid, *encoder(X_valid).chunk(2, dim=1))
        print(f"epoch {epoch}, beta {beta:4.1f}: {monitor.report().line()}")

# %%
# Each bound holds for its epoch. For the best of five, picked by looking at them, certify once
# more on rows that had no part in the choice.

epochs = {f"epoch {8 * number}": each for number, each in enumerate(monitor.reports_, start=1)}
CertificateDisplay.from_report(epochs)
