"""Watch a training: margins, bounds and losses in TensorBoard and MLflow, in local files.

Run with ``python examples/track_training.py``; it takes a few seconds and needs the extra
``track``: of the two it leaves out what is not installed. The margins come from a callback
that certifies the model on held-out rows as it trains.
"""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from sklearn.model_selection import train_test_split
from skorch.callbacks import MlflowLogger, TensorBoard

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.training import CertificateCallback

MARGINS = ("certified_margin", "certified_lower_bound", "certified_rate")


def to_tensorboard(folder):
    """Return a logger to event files, and what reads a curve back from them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    def read(name):
        events = EventAccumulator(str(folder)).Reload()
        return [(event.step, event.value) for event in events.Scalars(name)]

    return TensorBoard(SummaryWriter(folder)), read


def to_mlflow(folder):
    """Return a logger to a store of files, and what reads a curve back from it."""
    # It wants to be told that files, and no database, are meant; and nobody else is to know.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(folder.as_uri())
    run = client.create_run(client.create_experiment("digits"))

    def read(name):
        metrics = client.get_metric_history(run.info.run_id, name)
        return [(metric.step, metric.value) for metric in metrics]

    return MlflowLogger(run, client, create_artifact=False), read


X_train, X_test = train_test_split(digits(), test_size=0.3, random_state=0)
certifying = CertificateCallback(X_test, every=5)
with tempfile.TemporaryDirectory() as name:
    loggers, readers = [], {}
    for module, begin in {"tensorboard": to_tensorboard, "mlflow": to_mlflow}.items():
        if find_spec(module) is None:
            print(f"{module} is not installed, and left out: pip install 'skvae[track]'")
            continue
        logger, readers[module] = begin(Path(name, module))
        loggers.append(logger)
    vae = TeacherGuidedVAE(
        latent_dim=8,
        hidden_layer_sizes=(128,),
        max_epochs=30,
        lr=5e-3,
        lr_schedule="one-cycle",
        max_grad_norm=100.0,
        callbacks=[certifying, *loggers],
        random_state=0,
    ).fit(X_train)
    for module, read in readers.items():
        print(f"\nfrom the files of {module}: epoch and nats")
        for each in MARGINS:
            curve = read(each)
            print(f"{each:>22}", *(f"{step}: {value:.3f}" for step, value in curve))
            assert [step for step, _ in curve] == [5, 10, 15, 20, 25, 30]

print("\nEach bound holds for its epoch. The last epoch was not picked by looking at them:")
print(ConstantCollapseCertificate(latent="sample").certify(vae, X_test))
