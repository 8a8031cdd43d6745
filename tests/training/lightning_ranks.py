"""What two processes of Lightning do in `test_monitored`: ``lightning_ranks.py FOLDER``.

Rows are dealt out by Lightning, not dealt out, and dealt out unevenly by a sampler.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from skvae import CollapseMonitor
from skvae.training import lightning_callback

BATCH = 20
# Of rank 0 and of rank 1: four batches, and one.
PARTS = {"dealt unevenly": (range(80), range(80, 100))}


def table():
    """Make a hundred rows, and a class for each."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(100, 4, generator=generator)
    return TensorDataset(rows, (rows[:, 0] > 0).long())


def module():
    """Make a code of two dimensions that training leaves as it is."""
    # Not above: tests are collected without Lightning too.
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)
            nn.init.eye_(self.layer.weight)

        def training_step(self, batch, index):
            """Return a loss without a slope."""
            return 0.0 * self.layer(batch[0]).sum()

        def validation_step(self, batch, index):
            """Do nothing: the callback is what is tested."""

        def configure_optimizers(self):
            """Return an optimiser."""
            return torch.optim.SGD(self.parameters())

    return Module()


def found(dealt):
    """Train for an epoch; return rows that were reported, margin, and what was logged."""
    import lightning.pytorch as lightning

    monitor = CollapseMonitor(held_out=True)
    callback = lightning_callback(monitor, lambda net, batch: (batch[1], net.layer(batch[0])))
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        callbacks=[callback],
        use_distributed_sampler=dealt == "dealt",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    rows = table()
    part = PARTS[dealt][int(os.environ["LOCAL_RANK"])] if dealt in PARTS else range(100)
    trainer.fit(module(), DataLoader(rows, BATCH), DataLoader(Subset(rows, part), BATCH))
    (report,) = monitor.reports_
    return report.n_samples, report.margin, float(trainer.callback_metrics["certified_margin"])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    kept = {dealt: found(dealt) for dealt in ("dealt", "not dealt", "dealt unevenly")}
    torch.save(kept, Path(sys.argv[1]) / f"{os.environ['LOCAL_RANK']}.pt")
