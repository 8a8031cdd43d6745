"""Small data sets in the format in which the large ones are published."""

import gzip
import io
import pickle
import struct
from typing import ClassVar

import numpy as np
from PIL import Image

IDX_TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    array = np.asarray(array)
    head = bytes([0, 0, IDX_TYPES[array.dtype.str[1:]], array.ndim])
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    return head + np.array(array.shape, ">u4").tobytes() + big_endian.tobytes()


def write_mnist(folder, n_train=12, n_test=5, size=28, end=""):
    """Write the four files of MNIST and return images and labels of both subsets."""
    rng = np.random.default_rng(0)
    written = {}
    for subset, prefix, n in (("train", "train", n_train), ("test", "t10k", n_test)):
        images = rng.integers(0, 256, (n, size, size), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            path = folder / f"{prefix}-{name}-ubyte{end}"
            path.write_bytes(gzip.compress(content) if end == ".gz" else content)
        written[subset] = images, labels
    return written


class _Python2Pickler(pickle._Pickler):
    """Writes what cPickle of Python 2 did: its strings are bytes, and it counts from one."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def memoize(self, obj):
        number = len(self.memo) + 1
        self.write(self.put(number))
        self.memo[id(obj)] = number, obj

    def save_bytes(self, value):
        short = len(value) < 256
        self.write(
            b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))
        )
        self.write(value)
        self.memoize(value)

    def save_str(self, value):
        self.save_bytes(value.encode())

    dispatch |= {bytes: save_bytes, str: save_str}


def python2_pickle(value):
    """Pickle as Python 2 did, with the names that NumPy had then."""
    written = io.BytesIO()
    _Python2Pickler(written, protocol=2).dump(value)
    return written.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


CIFAR10_BATCHES = {
    "train": [f"data_batch_{number}" for number in range(1, 6)],
    "test": ["test_batch"],
}
CIFAR10_NAMES = [f"class_{label}" for label in range(10)]
FINE_NAMES = [f"fine_{label}" for label in range(100)]
COARSE_NAMES = [f"coarse_{label}" for label in range(20)]


def write_cifar10(folder, version, n=4):
    """Write CIFAR-10 with `n` rows a batch and return rows and labels of both subsets."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    written = {}
    for subset, names in CIFAR10_BATCHES.items():
        rows = rng.integers(0, 256, (len(names), n, 3072), dtype=np.uint8)
        labels = rng.integers(0, 10, (len(names), n))
        for name, batch, target in zip(names, rows, labels, strict=True):
            if version == "python":
                content = {
                    b"batch_label": name.encode(),
                    b"labels": target.tolist(),
                    b"data": batch,
                    b"filenames": [b"%d.png" % row for row in range(n)],
                }
                (folder / name).write_bytes(python2_pickle(content))
            else:
                table = np.column_stack([target.astype(np.uint8), batch])
                (folder / f"{name}.bin").write_bytes(table.tobytes())
        written[subset] = rows.reshape(-1, 3072), labels.ravel()
    if version == "python":
        names = {b"label_names": [name.encode() for name in CIFAR10_NAMES], b"num_vis": 3072}
        (folder / "batches.meta").write_bytes(python2_pickle(names))
    else:
        (folder / "batches.meta.txt").write_text("\n".join(CIFAR10_NAMES) + "\n\n")
    return written


def write_cifar100(folder, version, n=6):
    """Write CIFAR-100 with `n` rows a subset and return rows, fine and coarse labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    written = {}
    for subset in ("train", "test"):
        rows = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        fine, coarse = rng.integers(20, 100, n), rng.integers(0, 20, n)
        if version == "python":
            content = {
                b"fine_labels": fine.tolist(),
                b"coarse_labels": coarse.tolist(),
                b"data": rows,
                b"batch_label": b"training batch 1 of 1",
            }
            (folder / subset).write_bytes(python2_pickle(content))
        else:
            table = np.column_stack([coarse, fine, rows]).astype(np.uint8)
            (folder / f"{subset}.bin").write_bytes(table.tobytes())
        written[subset] = rows, fine, coarse
    if version == "python":
        names = {
            b"fine_label_names": [name.encode() for name in FINE_NAMES],
            b"coarse_label_names": [name.encode() for name in COARSE_NAMES],
        }
        (folder / "meta").write_bytes(python2_pickle(names))
    else:
        (folder / "fine_label_names.txt").write_text("\n".join(FINE_NAMES) + "\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(COARSE_NAMES) + "\n")
    return written


# Not in alphabetical order, as in the published list.
WNIDS = ["n02124075", "n01443537", "n04067472"]


def write_tiny_imagenet(folder, n=12):
    """Write Tiny-ImageNet with `n` images a class; image i of class k is grey, 80 k + 5 i."""
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    annotations = []
    for label, wnid in enumerate(WNIDS):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        names = [f"{wnid}_{number}.JPEG" for number in range(n)]
        for number, name in enumerate(names):
            write_jpeg(images / name, (80 * label + 5 * number,) * 3)
        boxes = "".join(f"{name}\t0\t0\t62\t62\n" for name in names)
        (images.parent / f"{wnid}_boxes.txt").write_text(boxes)
        # Classes in the reverse order, so that file and class number differ.
        name = f"val_{len(WNIDS) - 1 - label}.JPEG"
        write_jpeg(folder / "val" / "images" / name, (80 * label,) * 3)
        annotations.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(annotations))


def write_jpeg(path, colour, size=(64, 64), mode="RGB", file_format="JPEG"):
    Image.new(mode, size, colour).save(path, format=file_format, quality=95)
