"""Certificates on the way in trainings of others: those of skorch and of Lightning."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from shared import meeting_of
from skorch import NeuralNetRegressor
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import skvae
from skvae import CollapseMonitor
from skvae.certificate.given import certify_given
from skvae.training import MonitorCallback, lightning_callback

NAMES = ("certified_margin", "certified_lower_bound")


@pytest.fixture
def rows(clusters):
    """Rows and the cluster of each, shuffled, as tensors."""
    order = np.random.default_rng(0).permutation(len(clusters))
    labels = np.repeat([0, 1, 2], len(clusters) // 3)
    return torch.as_tensor(clusters[order]).float(), torch.as_tensor(labels[order])


@pytest.fixture
def autoencoder():
    with torch.random.fork_rng():
        return nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5), nn.Linear(2, 4))


def as_recorded(report):
    return dict(zip(NAMES, (report.margin, report.lower_bound), strict=True))


def test_skorch_is_certified_after_each_epoch_on_validation_rows(rows, autoencoder):
    X, labels = rows
    seen = []

    def encode(module, batch):
        assert not torch.is_grad_enabled()
        codes = module[:2](batch[0])
        seen.append((codes, batch[1][:, 0].long()))
        return seen[-1][1], codes

    monitor = CollapseMonitor(held_out=True)
    # A batch that was left over by somebody is no part of a report.
    monitor.update(labels, X)
    with torch.random.fork_rng():
        net = NeuralNetRegressor(
            autoencoder,
            max_epochs=2,
            batch_size=32,
            train_split=ValidSplit(3),
            callbacks=[MonitorCallback(monitor, encode)],
            verbose=0,
        ).fit(X, torch.column_stack([labels, X[:, 1:]]))
    # A third of the rows, which are the same in each epoch, in evaluation mode.
    assert len(seen) == 4
    for epoch, report in enumerate(monitor.reports_):
        codes, targets = (torch.cat(each) for each in zip(*seen[2 * epoch :][:2], strict=True))
        assert report == certify_given(codes.numpy(), targets.numpy(), held_out=True)
        record = net.history[epoch]
        assert {name: record[name] for name in NAMES} == as_recorded(report)
    # Without dropout: each code is that of a row.
    trained = net.module_[0](X).detach()
    assert all(
        torch.isclose(trained, code).all(dim=1).any() for codes, _ in seen[2:] for code in codes
    )


def test_a_net_without_validation_rows_is_told_what_to_do(rows, autoencoder):
    callback = MonitorCallback(CollapseMonitor(), lambda module, batch: batch)
    net = NeuralNetRegressor(
        autoencoder, max_epochs=1, train_split=None, callbacks=[callback], verbose=0
    )
    with torch.random.fork_rng(), pytest.raises(ValueError, match="train_split"):
        net.fit(rows[0], rows[0])


def test_lightning_is_certified_after_each_epoch_and_not_before_training(
    rows, autoencoder, tmp_path
):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.autoencoder = autoencoder

        def training_step(self, batch, index):
            return nn.functional.mse_loss(self.autoencoder(batch[0]), batch[0])

        def validation_step(self, batch, index):
            pass

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    monitor = CollapseMonitor(held_out=True)
    logged = []

    class Logged(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            logged.append({name: float(trainer.callback_metrics[name]) for name in NAMES})

    callback = lightning_callback(
        monitor, lambda module, batch: (batch[1], module.autoencoder[:2](batch[0]))
    )
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=2,
            callbacks=[callback, Logged()],
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            logger=False,
        )
        loader = DataLoader(TensorDataset(*rows), batch_size=50)
        trainer.fit(Module(), loader, loader)
    assert len(monitor.reports_) == len(logged) == 2
    codes = autoencoder.eval()[:2](rows[0]).detach().numpy()
    assert monitor.reports_[-1] == certify_given(codes, rows[1].numpy(), held_out=True)
    for found, report in zip(logged, monitor.reports_, strict=True):
        assert found == pytest.approx(as_recorded(report), rel=1e-5)


def test_lightning_shows_each_process_the_rows_of_all_once(tmp_path):
    pytest.importorskip("lightning.pytorch")
    common = {
        **meeting_of(2),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(skvae.__file__).parents[1]),
    }
    script = Path(__file__).parent / "lightning_ranks.py"
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**os.environ, **common, "LOCAL_RANK": str(rank), "NODE_RANK": "0"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [each.communicate(timeout=150)[0] for each in ranks]
    finally:
        for each in ranks:
            each.kill()
            each.wait()
    assert [each.returncode for each in ranks] == [0, 0], said
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first == second
    # A probe scores four fifths of a hundred rows; and none of them is another process's copy.
    assert {n_samples for n_samples, _, _ in first.values()} == {80}
    for _, margin, logged in first.values():
        assert logged == pytest.approx(margin, rel=1e-5)


def test_without_lightning_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    with pytest.raises(ImportError, match=r"pip install 'skvae\[lightning\]'"):
        lightning_callback(CollapseMonitor(), lambda module, batch: batch)
