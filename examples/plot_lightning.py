"""
How do I watch a Lightning training for collapse?
=================================================

By a callback that gives the codes of each validation batch to a `CollapseMonitor`, and asks
for a report when the epoch ends. The module here is a plain VAE; yours stays as it is.
"""

import logging
import warnings

import lightning
import torch
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from skvae import CollapseMonitor
from skvae.datasets import load
from skvae.displays import CertificateDisplay
from skvae.training import lightning_callback

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")  # of what it uses of torch


class VAE(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        layers = torch.nn.Linear, torch.nn.ReLU
        self.encoder = torch.nn.Sequential(layers[0](64, 64), layers[1](), layers[0](64, 16))
        self.decoder = torch.nn.Sequential(layers[0](8, 64), layers[1](), layers[0](64, 64))

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def training_step(self, batch):
        x, _ = batch
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return (10 * (self.decoder(z) - x).square().sum(dim=1) + rate).mean()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


# %%
# All that it has to be told is how codes are found: labels here, which stand in a teacher's
# place, means and log variances.


def encode(module, batch):
    x, y = batch
    return (y, *module.encode(x))


lightning.seed_everything(0, verbose=False)
digits = load("digits")
parts = train_test_split(
    torch.tensor(digits.data).float(),
    torch.tensor(digits.target),
    test_size=0.4,
    random_state=0,
)
training, validation = TensorDataset(*parts[::2]), TensorDataset(*parts[1::2])
monitor = CollapseMonitor(held_out=True)
trainer = lightning.Trainer(
    max_epochs=12,
    check_val_every_n_epoch=4,
    num_sanity_val_steps=0,
    accelerator="cpu",
    callbacks=[lightning_callback(monitor, encode)],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(VAE(), DataLoader(training, 64, shuffle=True), DataLoader(validation, 256))

# %%
for report in monitor.reports_:
    print(report.line())
CertificateDisplay.from_report(
    {f"epoch {4 * number}": report for number, report in enumerate(monitor.reports_, start=1)}
)
