"""Data to train on: what ships with a package, and readers of files on disk."""

from skvae.datasets.arrays import digits, load_array

__all__ = [
    "digits",
    "load_array",
]
