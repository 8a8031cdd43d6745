"""Fits, readings and searches on a GPU, against loops by hand and their matrix products.

    python tests/benchmarks/gpu.py --out FOLDER --minutes 8 [--fashion-mnist FOLDER]

First ``tests/test_cuda.py``. Then, at four sizes and in fp32, TF32 and bf16, an epoch of `fit`
beside an eager loop, a CUDA graph of the step of that loop, and its products alone; `transform`
and `certify`; last a grid search, one by one and stacked. The work that fits in the minutes is
done, and what was left out is named. ``--device cpu --tiny`` is a dry run, whose figures say
nothing.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from conv import CHANNELS, model_by_hand
from gpu_loops import StepLoop, encode_all, in_precision, products_of
from gpu_measured import Budget, Gauge, Report
from hand_loop import HandWrittenVAE, margin
from products import HIDDEN, LATENT_DIM, encoder_read
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from tables import clusters, images

from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae.datasets import digits, patches
from skvae.model_selection import StackedGridSearchCV
from skvae.rows.scaling import Standardization

PRECISIONS = ("fp32", "tf32", "bf16")
DECODER_VARIANCE = 0.1
# Rows in a batch: small ones wait for kernels, large ones for products.
BATCH_SIZES = {"digits": 128, "Fashion-MNIST": 1024, "synthetic": 4096, "patches": 256}
N_ROUNDS = 5
# From here on a table is measured once: what is read off it takes seconds.
LARGE = 500_000
GRID = {"alignment_weight": [3.0, 10.0, 30.0], "beta": [0.5, 1.0]}
TESTS = Path(__file__).parents[1] / "test_cuda.py"


class Table:
    """Rows to train on, the net that is trained on them, and the same as tensors.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows in the units of the data.
    batch_size : int
    device : torch.device
    image_shape : tuple of int or None
        ``(channels, height, width)`` of images, for a convolutional net.
    """

    def __init__(self, X, batch_size, device, image_shape=None):
        self.X, self.image_shape = X, image_shape
        self.batch_size = min(batch_size, len(X) // 2)
        teacher = GaussianMixtureTeacher(random_state=0).fit(X[:20_000])
        self.teacher = FrozenEstimator(teacher)
        units = Standardization.of(X)
        if image_shape is not None:
            units = units.pooled(image_shape[0])
        of_torch = partial(torch.as_tensor, dtype=torch.float32, device=device)
        self.rows = of_torch(units.apply(X))
        self.raw = of_torch(X)
        self.center, self.scale = of_torch(units.center), of_torch(units.scale)
        self.targets = of_torch(teacher.predict_proba(X))
        self.variance = of_torch(DECODER_VARIANCE / np.square(units.scale))
        self.device = device

    @property
    def size(self):
        return f"{len(self.X):,} x {self.X.shape[1]}"

    @property
    def n_rounds(self):
        return N_ROUNDS if 1_000 < len(self.X) < LARGE else 1

    def estimator(self, n_epochs, **settings):
        """Return an estimator of the net that the loop by hand trains too."""
        if self.image_shape is None:
            net = {"hidden_layer_sizes": HIDDEN}
        else:
            net = {"architecture": "conv", "image_shape": self.image_shape}
            net["channels"] = CHANNELS
        return TeacherGuidedVAE(
            **net,
            latent_dim=LATENT_DIM,
            teacher=self.teacher,
            decoder_variance=DECODER_VARIANCE,
            batch_size=self.batch_size,
            max_epochs=n_epochs,
            early_stopping=False,
            ema_decay=None,
            alignment_target=None,
            device=str(self.device),
            random_state=0,
            **settings,
        )

    def model(self):
        n_components = self.targets.shape[1]
        if self.image_shape is None:
            made = HandWrittenVAE(self.X.shape[1], n_components, HIDDEN, LATENT_DIM)
        else:
            shape = self.X.shape[1], n_components, self.image_shape
            made = model_by_hand(*shape, channels_last=True)
        return made.to(self.device)


def tables_of(options, device):
    """Return functions that make a table each, by name, the small ones first."""
    n_digits, n_patches, synthetic = None, 20_000, (2_000_000, 128)
    sizes = BATCH_SIZES
    if options.tiny:
        n_digits, n_patches, synthetic = 200, 32, (1_000, 16)
        sizes = dict.fromkeys(BATCH_SIZES, 64)

    def of_patches():
        found = patches(n_patches)
        return Table(found.data, sizes["patches"], device, found.image_shape)

    made = {
        "digits": lambda: Table(digits().astype(np.float32)[:n_digits], sizes["digits"], device)
    }
    if options.fashion_mnist is not None:
        made["Fashion-MNIST"] = lambda: Table(
            images(options.fashion_mnist), sizes["Fashion-MNIST"], device
        )
    made["patches"] = of_patches
    made["synthetic"] = lambda: Table(clusters(*synthetic), sizes["synthetic"], device)
    return made


def fit(table, precision, n_epochs, **settings):
    of_step = "bf16" if precision == "bf16" else "fp32"
    table.estimator(n_epochs, precision=of_step, **settings).fit(table.X)


def trainings(table, precision, tiny):
    """Return what trains for a number of epochs, by name."""
    loop = partial(StepLoop, table, precision)
    found = {
        "skvae": partial(fit, table, precision),
        "loop by hand": lambda n_epochs: loop().train(n_epochs),
        "graph of the loop": lambda n_epochs: loop(captured=True).train(n_epochs),
    }
    if not tiny:
        found["skvae, compiled"] = partial(fit, table, precision, compile="reduce-overhead")
    if table.image_shape is None:
        found["products"] = products_of(table, precision)
    return found


def measure_fits(name, table, precision, gauge, report, tiny):
    """Measure an epoch as what further epochs add to one, and the waits of a whole fit."""
    n_more = 1 if tiny else max(1, math.ceil(200_000 / len(table.X)))
    with in_precision(precision):
        found = {
            contender: gauge.epoch(train, n_more, table.n_rounds)
            for contender, train in trainings(table, precision, tiny).items()
        }
        one, two = (gauge.waits(partial(fit, table, precision, n)) for n in (1, 2))
    report.add(
        f"fit, {name}, {table.size}, batch {table.batch_size}, {precision}",
        found,
        ("loop by hand", "graph of the loop", "products"),
        steps=math.ceil(len(table.X) / table.batch_size),
        waits=two - one,
    )


def measure_readings(name, table, gauge, report):
    """Measure `transform` and `certify` of a model that was trained for a moment."""
    vae = table.estimator(1).fit(table.X)
    model = table.model()
    rows = table.raw, table.center, table.scale
    transforms = {
        "skvae": lambda: vae.transform(table.X),
        "by hand": lambda: encode_all(model, *rows),
    }
    if table.image_shape is None:
        transforms["products"] = encoder_read(*table.X.shape, device=table.device)
    certificate = ConstantCollapseCertificate()
    certificates = {
        "skvae": lambda: certificate.certify(vae, table.X),
        "by hand, no bound": lambda: margin(model, *rows, table.targets),
    }
    for what, contenders in (("transform", transforms), ("certify", certificates)):
        found = {each: gauge.call(read, table.n_rounds) for each, read in contenders.items()}
        title = f"{what}, {name}, {table.size}"
        report.add(title, found, ("by hand", "by hand, no bound", "products"))


def measure_searches(table, gauge, report, tiny):
    n_epochs, grid = (1, {"alignment_weight": [3.0, 10.0]}) if tiny else (20, GRID)
    vae = table.estimator(n_epochs)
    certificate = ConstantCollapseCertificate()
    found = {}
    for kind in (GridSearchCV, StackedGridSearchCV):
        search = kind(vae, grid, scoring=certificate, cv=2, refit=False)
        found[kind.__name__] = gauge.call(partial(search.fit, table.X), 1)
    size = f"{table.size}, 2 folds, epochs {n_epochs}, grid {grid}"
    report.add(f"search, digits, {size}", found, ("GridSearchCV",))


def run_tests(budget):
    """Return what became of the tests that need a GPU, in one line."""
    command = [sys.executable, "-m", "pytest", "-q", str(TESTS)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=max(30, budget.seconds_left / 3)
        )
    except subprocess.TimeoutExpired:
        return "not done within a third of the time"
    return (done.stdout.strip().splitlines() or ["no output"])[-1]


def main(arguments=None):
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("--out", type=Path, required=True, help="folder for table and numbers")
    command.add_argument("--minutes", type=float, default=8.0)
    command.add_argument("--fashion-mnist", type=Path, metavar="FOLDER")
    command.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    command.add_argument("--tiny", action="store_true", help="a dry run on few rows")
    options = command.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        command.error("no CUDA device is visible: --device cpu --tiny makes a dry run")
    device = torch.device(options.device)
    budget, report = Budget(60 * options.minutes), Report(options.out, device)
    # One epoch certifies nothing, and says so.
    warnings.simplefilter("ignore")
    if device.type == "cuda":
        report.say(f"tests/test_cuda.py: {run_tests(budget)}")
    with Gauge(device) as gauge:
        made = {}
        for name, make in tables_of(options, device).items():
            made[name] = table = budget.spend(f"table {name}", make, report)
            if table is None:
                continue
            for precision in PRECISIONS:
                work = partial(
                    measure_fits, name, table, precision, gauge, report, options.tiny
                )
                budget.spend(f"fit, {name}, {precision}", work, report)
            work = partial(measure_readings, name, table, gauge, report)
            budget.spend(f"transform and certify, {name}", work, report)
            if name == "digits":
                work = partial(measure_searches, table, gauge, report, options.tiny)
                budget.spend("searches", work, report)
    report.write()


if __name__ == "__main__":
    main()
