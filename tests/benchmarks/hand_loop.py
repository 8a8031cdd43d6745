"""What a person would write by hand in PyTorch: the same net, objective and optimiser.

Only torch is needed. Rows come standardised, as the estimator feeds its own net.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


def layers(sizes):
    found = []
    for n_in, n_out in pairwise(sizes):
        found += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*found[:-1])


class HandWrittenVAE(nn.Module):
    def __init__(self, n_features, n_components, hidden=(256, 256), latent_dim=16):
        super().__init__()
        self.encoder = layers([n_features, *hidden, 2 * latent_dim])
        self.decoder = layers([latent_dim, *reversed(hidden), n_features])
        self.witness = nn.Linear(latent_dim, n_components)

    def forward(self, x, generator=None):
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latent = mean + torch.exp(0.5 * log_variance) * noise
        log_witness = torch.log_softmax(self.witness(latent), dim=1)
        return mean, log_variance, self.decoder(latent), log_witness


def objective(x, T, outputs, variance, beta, alignment_weight):
    mean, log_variance, decoded, log_witness = outputs
    squared_error = (x - decoded) ** 2
    reconstruction = 0.5 * (squared_error / variance + torch.log(2 * math.pi * variance))
    rate = 0.5 * (mean**2 + torch.exp(log_variance) - 1 - log_variance)
    alignment = functional.kl_div(log_witness, T, reduction="sum")
    return (reconstruction.sum() + beta * rate.sum() + alignment_weight * alignment) / len(x)


def optimizer_of(model, lr=1e-3):
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)


def train_epoch(
    model, optimizer, rows, targets, variance, *, batch_size, beta, alignment_weight,
    order=None, noise=None,
):  # fmt: skip
    """Take one pass over the rows; return the mean loss over them."""
    total = 0.0
    drawn = torch.randperm(len(rows), generator=order, device=rows.device)
    for chosen in drawn.split(batch_size):
        x, T = rows[chosen], targets[chosen]
        optimizer.zero_grad()
        loss = objective(x, T, model(x, noise), variance, beta, alignment_weight)
        loss.backward()
        optimizer.step()
        total += len(x) * loss.item()
    return total / len(rows)


@torch.inference_mode()
def encode(model, rows, center, scale, batch_size=1024):
    """Return the codes of rows in the units of the data: their means and log variances."""
    read = [model.encoder((batch - center) / scale) for batch in rows.split(batch_size)]
    return torch.cat(read).chunk(2, dim=1)


@torch.inference_mode()
def margin(model, rows, center, scale, T, n_draws=4):
    """Return the margin of the sample at draws of the code, without checks or a bound."""
    mean, log_variance = encode(model, rows, center, scale)
    information = functional.kl_div(T.mean(dim=0).log(), T, reduction="sum") / len(rows)
    costs = []
    for _ in range(n_draws):
        noise = torch.randn(mean.shape, device=mean.device)
        latent = mean + torch.exp(0.5 * log_variance) * noise
        log_witness = torch.log_softmax(model.witness(latent), dim=1)
        costs.append(functional.kl_div(log_witness, T, reduction="batchmean"))
    return float(information - sum(costs) / n_draws)
