"""Data to train on: what ships with a package, and readers of files on disk.

`specs` opens any by name; `arrays`, `idx`, `cifar` (`unpickling` reads its batches), `imagenet`
and `photographs` are a source each, `files` and `images` what they share.
"""

from skvae.datasets.arrays import digits, load_array
from skvae.datasets.cifar import cifar10, cifar100
from skvae.datasets.idx import fashion_mnist, load_idx, mnist
from skvae.datasets.imagenet import tiny_imagenet
from skvae.datasets.photographs import patches
from skvae.datasets.specs import load

__all__ = [
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "load",
    "load_array",
    "load_idx",
    "mnist",
    "patches",
    "tiny_imagenet",
]
