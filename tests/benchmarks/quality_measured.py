"""What `quality.py` measures, in the environment that it makes."""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import scvi
import torch
from hand_loop import HandWrittenVAE, optimizer_of, train_epoch
from held_out_tables import independent, table
from lightning.pytorch.callbacks import Callback as LightningCallback
from peer_nets import Decoder, Encoder
from products import HIDDEN, LATENT_DIM
from pyod.models import vae as outlier_vae
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from skorch.callbacks import Callback
from torch import Tensor, nn

from skvae import TeacherGuidedVAE
from skvae.datasets import digits, fashion_mnist

# Draws of the importance-weighted log p(x), and rows at a time.
DRAWS, ROWS = 50, 500
# Rows whose residuals give a peer its variances.
REFITTED_BY = 4000
# Weights are kept when a training has taken this much longer than when they last were.
SPACING = 1.1
# Rows of a training before the clock starts, in which libraries find their kernels.
WARM_UP = 100
OURS = "skvae"


class Course:
    """Weights along a training, with the seconds they took: those of keeping them left out."""

    def __init__(self):
        self.kept: list[tuple[float, float, Any]] = []
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self._next = 0.0

    def keep(self, state: Callable[[], dict[str, Tensor]], is_end: bool = False) -> None:
        """Keep what `state` returns, if enough time has passed since the last."""
        cpu, wall = time.process_time(), time.perf_counter()
        if is_end or cpu - self._cpu >= self._next:
            self._next = SPACING * (cpu - self._cpu)
            weights = {name: value.clone() for name, value in state().items()}
            self.kept.append((cpu - self._cpu, wall - self._wall, weights))
        self._cpu += time.process_time() - cpu
        self._wall += time.perf_counter() - wall


def density(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    cost: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
) -> float:
    """Mean over rows of the importance-weighted log p(x), in float64.

    `encode` gives means and log variances of codes, `cost` of rows and codes ``-log p(x|z)``.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    for some in x.split(ROWS):
        mean, log_variance = encode(some)
        log_weights = []
        for _ in range(DRAWS):
            noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
            latent = mean + torch.exp(0.5 * log_variance) * noise
            # The constants of prior and posterior are the same.
            log_ratio = 0.5 * (noise.square() + log_variance - latent.square()).sum(dim=1)
            log_weights.append(log_ratio - cost(some, latent))
        found.append(torch.logsumexp(torch.stack(log_weights), dim=0) - math.log(DRAWS))
    return float(torch.cat(found).mean())


def refitted(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    x_train: Tensor,
    x_test: Tensor,
) -> float:
    """`density` of a decoder in unit noise that gets the variances of its residuals."""
    x = x_train[:REFITTED_BY]
    mean, log_variance = encode(x)
    generator = torch.Generator().manual_seed(1)
    variances = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(16):
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        decoded = decode(mean + torch.exp(0.5 * log_variance) * noise)
        variances += (x - decoded).square().mean(dim=0) / 16
    constant = 0.5 * torch.log(2 * math.pi * variances).sum()

    def cost(rows: Tensor, latent: Tensor) -> Tensor:
        return 0.5 * ((rows - decode(latent)).square() / variances).sum(dim=1) + constant

    return density(encode, cost, x_test)


class Measured:
    """A training that was taken, and what its weights are worth.

    Parameters
    ----------
    course : Course
        Of the training.
    log_p : callable
        From weights to their held-out log p(x), in the units of the data.
    """

    def __init__(self, course: Course, log_p: Callable[[Any], float]):
        self.course, self.log_p = course, log_p

    def record(self, is_whole: bool) -> dict[str, Any]:
        """Seconds and log p(x) at the end, or all along."""
        kept = self.course.kept if is_whole else self.course.kept[-1:]
        with torch.no_grad():
            curve = [(cpu, wall, self.log_p(weights)) for cpu, wall, weights in kept]
        cpu, wall, log_p = curve[-1]
        return {"log_p": log_p, "cpu": cpu, "wall": wall, "curve": curve if is_whole else []}


class KeptByNet(Callback):
    def __init__(self, course):
        self.course = course

    def on_epoch_end(self, net, **kwargs):
        self.course.keep(net.module_.state_dict)


def ours(X_train, X_test, seed, **setting):
    course = Course()
    vae = TeacherGuidedVAE(
        device="cpu", random_state=seed, callbacks=[KeptByNet(course)], **setting
    ).fit(X_train)
    course.keep(vae.net_.module_.state_dict, is_end=True)
    units = vae._fitted.units
    x = torch.from_numpy((X_test - units.center) / units.scale)

    def log_p(weights):
        module = copy.deepcopy(vae.net_.module_)
        module.load_state_dict(weights)
        module.double().eval()

        def cost(rows, latent):
            return module.decoder.reconstruction(rows, module.decoder(latent, rows))

        return density(module.encoder, cost, x) - units.log_scale_sum

    return Measured(course, log_p)


class KeptByPythae(TrainingCallback):
    def __init__(self, course, model):
        self.course, self.model = course, model

    def on_epoch_end(self, training_config, **kwargs):
        self.course.keep(self.model.state_dict)


def pythae(X_train, X_test, seed, is_ours=False):
    course = Course()
    # Its own decoder ends in a sigmoid.
    units = (StandardScaler() if is_ours else MinMaxScaler()).fit(X_train)
    n_features = X_train.shape[1]
    rows = torch.from_numpy(units.transform(X_train).astype(np.float32))
    torch.manual_seed(seed)
    config = VAEConfig(input_dim=(n_features,))
    parts: tuple[nn.Module, ...] = ()
    setting: dict[str, Any] = {}
    if is_ours:
        config = VAEConfig(input_dim=(n_features,), latent_dim=LATENT_DIM)
        parts = (Encoder(n_features), Decoder(n_features))
        setting = {
            "per_device_train_batch_size": 128,
            "learning_rate": 1e-3,
            "optimizer_cls": "AdamW",
            "optimizer_params": {"weight_decay": 0.0},
        }
    model = VAE(config, *parts)
    with tempfile.TemporaryDirectory() as folder:
        BaseTrainer(
            model,
            BaseDataset(rows, torch.zeros(len(rows))),
            training_config=BaseTrainerConfig(
                output_dir=folder, seed=seed, no_cuda=True, **setting
            ),
            callbacks=[KeptByPythae(course, model)],
        ).train()
    course.keep(model.state_dict, is_end=True)
    x, x_test = (torch.from_numpy(units.transform(X)) for X in (X_train, X_test))
    scale = units.scale_ if is_ours else 1 / units.scale_

    def log_p(weights):
        model.load_state_dict(weights)
        exact = copy.deepcopy(model).double().eval()

        def encode(rows):
            made = exact.encoder(rows)
            return made.embedding, made.log_covariance

        def decode(latent):
            return exact.decoder(latent).reconstruction

        return refitted(encode, decode, x, x_test) - np.log(scale).sum()

    return Measured(course, log_p)


class KeptDetector(outlier_vae.VAE):
    course: Course

    def epoch_update(self):
        super().epoch_update()
        self.course.keep(self.model.state_dict)


def pyod(X_train, X_test, seed, is_ours=False):
    course = Course()
    setting: dict[str, Any] = {}
    if is_ours:
        # With a capacity of 0 the divergence from the prior is left out; squared errors are a
        # mean over the columns.
        setting = {
            "encoder_neuron_list": list(HIDDEN),
            "decoder_neuron_list": list(HIDDEN),
            "latent_dim": LATENT_DIM,
            "dropout_rate": 0.0,
            "beta": 2 / X_train.shape[1],
            "capacity": 1e9,
            "batch_size": min(128, len(X_train)),
            "optimizer_params": {"weight_decay": 0.0},
        }
    detector = KeptDetector(random_state=seed, device="cpu", verbose=0, **setting)
    detector.course = course
    detector.fit(X_train.astype(np.float32))
    course.keep(detector.model.state_dict, is_end=True)
    center, scale = X_train.mean(axis=0), X_train.std(axis=0)
    x, x_test = (torch.from_numpy((X - center) / scale) for X in (X_train, X_test))

    def log_p(weights):
        detector.model.load_state_dict(weights)
        exact = copy.deepcopy(detector.model).double().eval()

        def encode(rows):
            mean, log_variance = exact.encode(rows)
            return mean, log_variance.clamp(-30.0, 20.0)

        return refitted(encode, exact.decode, x, x_test) - np.log(scale).sum()

    return Measured(course, log_p)


def by_hand(X_train, X_test, seed):
    course = Course()
    units = StandardScaler().fit(X_train)
    rows = torch.from_numpy(units.transform(X_train).astype(np.float32))
    torch.manual_seed(seed)
    model = HandWrittenVAE(X_train.shape[1], 2, HIDDEN, LATENT_DIM)
    optimizer = optimizer_of(model)
    targets, variance = torch.full((len(rows), 2), 0.5), torch.ones(X_train.shape[1])
    for _ in range(100):
        train_epoch(
            model, optimizer, rows, targets, variance,
            batch_size=128, beta=1.0, alignment_weight=0.0,
        )  # fmt: skip
        course.keep(model.state_dict)
    course.keep(model.state_dict, is_end=True)
    x, x_test = (torch.from_numpy(units.transform(X)) for X in (X_train, X_test))

    def log_p(weights):
        model.load_state_dict(weights)
        exact = copy.deepcopy(model).double().eval()

        def encode(rows):
            return exact.encoder(rows).chunk(2, dim=1)

        return refitted(encode, exact.decoder, x, x_test) - np.log(units.scale_).sum()

    return Measured(course, log_p)


class KeptByScvi(LightningCallback):
    def __init__(self, course):
        self.course = course

    def on_train_epoch_end(self, trainer, module):
        self.course.keep(module.module.state_dict)


def scvi_tools(X_train, X_test, seed, is_ours=False):
    course = Course()
    scvi.settings.seed = seed
    cells = anndata.AnnData(X_train.astype(np.float32))
    scvi.model.SCVI.setup_anndata(cells)
    setting: dict[str, Any] = {}
    training: dict[str, Any] = {}
    if is_ours:
        setting = {
            "n_hidden": HIDDEN[0],
            "n_layers": len(HIDDEN),
            "n_latent": LATENT_DIM,
            "dropout_rate": 0.0,
            "gene_likelihood": "poisson",
            "use_observed_lib_size": False,
        }
        training = {
            "train_size": 1.0,
            "plan_kwargs": {"lr": 1e-3, "weight_decay": 0.0, "optimizer": "AdamW"},
        }
    model = scvi.model.SCVI(cells, **setting)
    model.train(
        accelerator="cpu",
        callbacks=[KeptByScvi(course)],
        enable_progress_bar=False,
        **training,
    )
    course.keep(model.module.state_dict, is_end=True)
    held_out = anndata.AnnData(X_test.astype(np.float32))

    def log_p(weights):
        # By its own method, in float32: the total of a row is given to it unless it is told
        # otherwise.
        model.module.load_state_dict(weights)
        model.module.eval()
        torch.manual_seed(0)
        return float(model.get_marginal_ll(held_out, n_mc_samples=DRAWS))

    return Measured(course, log_p)


def counts(seed: int) -> np.ndarray:
    """Draw 4,000 rows of 200 counts, whose log rates have eight factors and a size."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((6, 8)) * 1.5
    factors = kinds[rng.integers(6, size=4000)] + 0.5 * rng.standard_normal((4000, 8))
    log_rates = 0.35 * factors @ rng.standard_normal((8, 200)) + rng.normal(0, 0.7, 200)
    sizes = rng.normal(0.5, 0.3, (4000, 1))
    return rng.poisson(np.exp(log_rates + sizes)).astype(float)


def pixels(images: np.ndarray, levels: int, seed: int) -> np.ndarray:
    """Make reals of grey levels, uniform in what was rounded: they have a density."""
    return levels * images.astype(float) + np.random.default_rng(seed).random(images.shape)


def halves(X: np.ndarray, seed: int, **sizes: Any) -> tuple[np.ndarray, np.ndarray]:
    return independent(*train_test_split(X, random_state=seed, **sizes))


def fashion(folder: Path, seed: int, n_rows: int) -> np.ndarray:
    images = fashion_mnist(folder).data
    chosen = np.random.default_rng(seed).permutation(len(images))[:n_rows]
    return pixels(images[chosen], 255, seed)


GAUSSIAN: dict[str, Callable[..., Measured]] = {
    OURS: ours,
    "pythae": pythae,
    "pythae, our net": partial(pythae, is_ours=True),
    "pyod": pyod,
    "pyod, our net": partial(pyod, is_ours=True),
    "loop by hand": by_hand,
}
COUNTS: dict[str, Callable[..., Measured]] = {
    OURS: partial(ours, likelihood="poisson"),
    "scvi-tools": scvi_tools,
    "scvi-tools, our net": partial(scvi_tools, is_ours=True),
}


def sets(options: argparse.Namespace) -> dict[str, tuple[Callable, dict[str, Callable]]]:
    """Return what draws the rows of a seed, and who is measured on them."""
    found: dict[str, tuple[Callable, dict[str, Callable]]] = {
        "iris": (lambda seed: halves(load_iris().data, seed, train_size=75), GAUSSIAN),
        "breast cancer": (lambda seed: halves(table("breast cancer"), seed), GAUSSIAN),
        "digits": (lambda seed: halves(pixels(digits(), 16, seed), seed), GAUSSIAN),
        "counts": (lambda seed: halves(counts(seed), seed), COUNTS),
        "letter": (lambda seed: halves(table("letter"), seed), GAUSSIAN),
        "magic": (lambda seed: halves(table("magic"), seed), GAUSSIAN),
    }
    if options.fashion_mnist is not None:
        n_rows = options.fashion_rows
        found["Fashion-MNIST"] = (
            lambda seed: halves(
                fashion(options.fashion_mnist, seed, n_rows + 1000), seed, test_size=1000
            ),
            GAUSSIAN,
        )
    return found


def main():
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--out", type=Path, required=True, help="folder of table and numbers")
    command.add_argument("--fashion-mnist", type=Path, metavar="FOLDER")
    command.add_argument("--fashion-rows", type=int, default=12_000)
    command.add_argument("--sets", nargs="+", metavar="NAME", help="all by default")
    command.add_argument("--seeds", type=int, default=3, help="how many")
    options = command.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "quality.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    drawn = sets(options)
    warm = set()
    for name in options.sets or drawn:
        draw, contenders = drawn[name]
        for seed in range(options.seeds):
            X_train, X_test = draw(seed)
            # One after another, seed by seed: what else the machine does falls on all of them.
            for contender, train in contenders.items():
                key = f"{name}, seed {seed}, {contender}"
                if key in found:
                    continue
                if contender not in warm:
                    train(X_train[:WARM_UP], X_test[:WARM_UP], seed)
                    warm.add(contender)
                record = train(X_train, X_test[:1000], seed).record(contender == OURS)
                found[key] = {**record, "shape": X_train.shape}
                new = path.with_suffix(".new")
                new.write_text(json.dumps(found, indent=1) + "\n")
                os.replace(new, path)
    lines = report(found)
    print("\n".join(lines))
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n")


def seconds_to(curve: list[list[float]], log_p: float, clock: int) -> float:
    """Seconds after which a training has this log p(x), infinite where it never has."""
    return min((each[clock] for each in curve if each[2] >= log_p), default=math.inf)


def report(found: dict[str, dict]) -> list[str]:
    """Return a line for each peer: its end, and when the default fit is as good."""
    grouped: dict[str, dict[str, dict[int, dict]]] = {}
    for key, record in found.items():
        name, seed, contender = key.split(", ", 2)
        seeds = grouped.setdefault(name, {}).setdefault(contender, {})
        seeds[int(seed.removeprefix("seed "))] = record
    lines = []
    for name, contenders in grouped.items():
        if OURS not in contenders:
            continue
        n_rows, n_features = next(iter(contenders[OURS].values()))["shape"]
        lines.append(f"{name}, {n_rows:,} x {n_features}, {len(contenders[OURS])} seeds")
        lines.append(
            f"{'':24}{'log p(x)':>10}{'seconds':>10}{'ours there after':>18}{'share':>8}"
            f"{'of the wall':>13}"
        )
        own = contenders[OURS]
        peers = {each: seeds for each, seeds in contenders.items() if each != OURS}
        for contender, seeds in contenders.items():
            log_p = statistics.median(each["log_p"] for each in seeds.values())
            seconds = statistics.median(each["cpu"] for each in seeds.values())
            line = f"{contender:24}{log_p:10.2f}{seconds:10.2f}"
            if contender != OURS:
                line += shares([(own[seed], seeds[seed]) for seed in seeds if seed in own])
            lines.append(line)
        best = [
            (own[seed], max((p[seed] for p in peers.values()), key=lambda each: each["log_p"]))
            for seed in own
            if all(seed in seeds for seeds in peers.values())
        ]
        if best:
            lines.append(f"{'the best peer of a seed':44}{shares(best)}")
        lines.append("")
    lines.append(
        "log p(x) of held-out rows in nats, importance-weighted with 50 draws; seconds"
    )
    lines.append("of the processor, at one thread, the teacher's included; medians over seeds.")
    return lines


def shares(pairs: list[tuple[dict, dict]]) -> str:
    """Return the median time after which ours is as good as a peer's end, and its share."""
    after = [seconds_to(own["curve"], peer["log_p"], 0) for own, peer in pairs]
    wall = [seconds_to(own["curve"], peer["log_p"], 1) for own, peer in pairs]
    by_cpu = [t / peer["cpu"] for t, (_, peer) in zip(after, pairs, strict=True)]
    by_wall = [t / peer["wall"] for t, (_, peer) in zip(wall, pairs, strict=True)]
    medians = [statistics.median(each) for each in (after, by_cpu, by_wall)]
    if math.isinf(medians[0]):
        return f"{'never':>18}"
    return f"{medians[0]:18.2f}{medians[1]:8.2f}{medians[2]:13.2f}"


if __name__ == "__main__":
    main()
