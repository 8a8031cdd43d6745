"""The rows that are trained on and read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from skvae.datasets import digits

IMAGES = "train-images-idx3-ubyte"
N_IMAGES, N_PIXELS = 60_000, 784


def images(folder: Path) -> np.ndarray:
    """Pixels in [0, 1] of the training images in an IDX file, plain or gzipped."""
    path = folder / IMAGES
    packed = path.with_name(f"{IMAGES}.gz")
    raw = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    n_samples, height, width = np.frombuffer(raw, ">i4", 3, offset=4)
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(n_samples, height * width)
    return pixels.astype(np.float32) / 255


def clusters(n_samples: int, n_features: int, seed: int = 0) -> np.ndarray:
    """Rows around ten centres."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=2.0, size=(10, n_features))
    noise = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    return centers.astype(np.float32)[rng.integers(10, size=n_samples)] + noise


def training_tables(folder: Path | None) -> dict[str, np.ndarray]:
    """Tables to train on, by name; images where there is a folder of them."""
    found = {
        "digits": digits().astype(np.float32),
        "synthetic": clusters(200_000, 32),
    }
    if folder is not None:
        found["Fashion-MNIST"] = images(folder)[:20_000]
    return found


def many_rows(folder: Path | None) -> tuple[str, np.ndarray]:
    """60,000 rows of 784 columns: images where there is a folder of them."""
    if folder is None:
        return "synthetic", clusters(N_IMAGES, N_PIXELS)
    return "Fashion-MNIST", images(folder)
