"""Every format, mutated at random: a documented error or a sound data set, and little memory.

Run as a program this file reads them under a limit of memory; the test starts it so, for a
crash or a lack of memory would take the other tests along.
"""

import collections
import faulthandler
import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
from published_formats import write_cifar10, write_mnist, write_tiny_imagenet

from skvae.datasets import load

MAX_BYTES = 2**26
# What Python, NumPy and Pillow take beside the data, with room to spare.
MEMORY = 2**28
N_MUTATIONS = 500
DOCUMENTED = (ValueError, FileNotFoundError, NotADirectoryError)
X = np.random.default_rng(0).normal(size=(30, 5))


def unpack(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read("X.npy")


def pack(content):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", content)
    return written.getvalue()


# How a format is written, the spec that loads it, and what lies under its compression.
FORMATS = {
    "idx": (write_mnist, "idx:{0}", None),
    "idx.gz": (
        lambda folder: write_mnist(folder, end=".gz"),
        "mnist:{0}",
        (gzip.decompress, gzip.compress),
    ),
    "cifar python": (lambda folder: write_cifar10(folder, "python", 2), "cifar10:{0}", None),
    "cifar binary": (lambda folder: write_cifar10(folder, "binary", 2), "cifar10:{0}", None),
    "npy": (lambda folder: np.save(folder / "X.npy", X), "{0}/X.npy", None),
    "npz": (
        lambda folder: np.savez_compressed(folder / "X.npz", X=X),
        "{0}/X.npz",
        (unpack, pack),
    ),
    "tiny imagenet": (
        lambda folder: write_tiny_imagenet(folder / "tiny-imagenet-200", 1),
        "tiny-imagenet:{0}",
        None,
    ),
}


def place(rng, content):
    """Draw a place: sizes and counts stand at the beginning, or in a directory at the end."""
    reach = min(len(content), rng.choice([8, 200, len(content)]))
    return rng.choice([rng.randrange(reach), len(content) - 1 - rng.randrange(reach)])


def flip_bits(rng, content, other):
    mutated = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        mutated[place(rng, content)] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def truncate(rng, content, other):
    return content[: place(rng, content)]


def lengthen(rng, content, other):
    return content + rng.choice([b"\0", other, bytes(5000), rng.randbytes(50)])


def change_a_size(rng, content, other):
    width = rng.choice([1, 2, 4, 8])
    size = rng.choice([0, 1, 2, 255, 2**15, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, -1])
    at = place(rng, content)
    number = (size % 2 ** (8 * width)).to_bytes(width, rng.choice(["little", "big"]))
    return content[:at] + number + content[at + width :]


def change_digits(rng, content, other):
    numbers = list(re.finditer(rb"\d+", content[:400])) or [re.match(b"", content)]
    found = rng.choice(numbers)
    digits = str(rng.choice([0, 1, 7, 31, 10**5, 2**31, 10**12, 2**63, 10**25])).encode()
    return content[: found.start()] + digits + content[found.end() :]


def swap_parts(rng, content, other):
    a, b, c = sorted(place(rng, content) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def repeat_a_part(rng, content, other):
    a, b = sorted(place(rng, content) for _ in range(2))
    return content[:b] + content[a:b] * rng.choice([0, 1, 2, 50]) + content[b:]


def take_a_part_of_another(rng, content, other):
    a, b = sorted(place(rng, other) for _ in range(2))
    at = place(rng, content)
    return content[:at] + other[a:b] + content[at + b - a :]


MUTATIONS = [
    flip_bits,
    truncate,
    lengthen,
    change_a_size,
    change_digits,
    swap_parts,
    repeat_a_part,
    take_a_part_of_another,
]


def check_sound(dataset):
    for X, y in (
        (dataset.data, dataset.target),
        (dataset.test_data, dataset.test_target),
    ):
        if X is None:
            continue
        assert X.ndim == 2, X.shape
        assert X.size, X.shape
        assert X.dtype.kind in "fiub", X.dtype
        assert np.isfinite(X).all()
        assert isinstance(X, np.memmap) or X.nbytes <= MAX_BYTES, X.nbytes
        assert y is None or (y.shape == X.shape[:1] and y.min() >= 0 and y.max() < 2**16), y
        shape = dataset.image_shape
        assert shape is None or X.shape[1:] == (np.prod(shape),), (shape, X.shape)


def read_mutations(name):
    """Return how many mutations of a format were read, and how many refused."""
    write, spec, inside = FORMATS[name]
    rng = random.Random(name)
    outcomes = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        whole = {path: path.read_bytes() for path in paths}
        for number in range(N_MUTATIONS):
            path, other = rng.choice(paths), whole[rng.choice(paths)]
            mutate = rng.choice(MUTATIONS)
            if inside and rng.random() < 0.5:
                unpacked, packed = inside
                mutated = packed(mutate(rng, unpacked(whole[path]), unpacked(other)))
            else:
                mutated = mutate(rng, whole[path], other)
            path.write_bytes(mutated)
            error = None
            try:
                check_sound(load(spec.format(folder), dtype="uint8", max_bytes=MAX_BYTES))
            except DOCUMENTED as caught:
                error = caught
            # An error of NumPy's, say, would not name the file.
            if error and (
                str(folder) not in str(error) or isinstance(error.__cause__, MemoryError)
            ):
                raise AssertionError(f"{name}, {mutate.__name__} {number} of {path}") from error
            outcomes["refused" if error else "read"] += 1
            path.write_bytes(whole[path])
    return outcomes


def test_mutated_files_are_refused_or_sound():
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert list(outcomes) == list(FORMATS)
    for name, counts in outcomes.items():
        assert sum(counts.values()) == N_MUTATIONS
        # Otherwise the mutations would be too tame, or too wild, to show anything.
        assert min(counts["read"], counts["refused"]) > 10, (name, counts)


def limit_memory():
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("ignore")
    # What is imported on first use would need room as well.
    from PIL import JpegImagePlugin  # noqa: F401

    # Elsewhere such a limit is not kept.
    if sys.platform == "linux":
        limit_memory()
    print(json.dumps({name: read_mutations(name) for name in FORMATS}))
