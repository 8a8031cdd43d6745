"""Seconds to read rows out of a store, against its own library and the files alone.

    python tests/benchmarks/stores.py --out FOLDER

The same rows as Parquet files, as a Zarr array and as a Dask array of mapped files. *Files
alone* reads the bytes and makes nothing of them; *library* decodes them and makes no table of
rows; *blocks* is what `transform` and `certify` go through, *as_rows* what `fit` reads once,
into memory here. Files are in the system's cache: what a disk takes is not measured.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import zarr
from tables import clusters
from timing import Session, parser

from skvae.rows import as_rows
from skvae.rows.stores import stored_rows

N_FILES = 4
BLOCK_ROWS = 4096
READ_BYTES = 2**22


def parquet_files(X, folder):
    """Write a row group for each 16 MiB or so."""
    folder.mkdir()
    for number, part in enumerate(np.array_split(X, N_FILES)):
        columns = {f"column {place}": column for place, column in enumerate(part.T)}
        path = folder / f"{number}.parquet"
        pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=2**15)
    return pyarrow.dataset.dataset(folder, format="parquet")


def parquet_lists(X, folder):
    """Write the rows as one column of lists."""
    folder.mkdir()
    for number, part in enumerate(np.array_split(X, N_FILES)):
        rows = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), X.shape[1])
        path = folder / f"{number}.parquet"
        pyarrow.parquet.write_table(pa.table({"row": rows}), path, row_group_size=2**15)
    return pyarrow.dataset.dataset(folder, format="parquet")


def zarr_array(X, folder):
    chunks = (2**13, X.shape[1])
    made = zarr.open_array(folder, mode="w", shape=X.shape, chunks=chunks, dtype=X.dtype)
    made[:] = X
    return zarr.open_array(folder, mode="r")


def dask_array(X, folder):
    folder.mkdir()
    parts = []
    for number, part in enumerate(np.array_split(X, N_FILES)):
        np.save(folder / f"{number}.npy", part)
        mapped = np.load(folder / f"{number}.npy", mmap_mode="r")
        parts.append(da.from_array(mapped, chunks=(2**15, X.shape[1])))
    return da.concatenate(parts)


def read_files(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(READ_BYTES):
                    pass


def read_by_library(store):
    if isinstance(store, pyarrow.dataset.Dataset):
        for _ in store.to_batches():
            pass
    elif isinstance(store, da.Array):
        for number in range(store.numblocks[0]):
            np.array(store.blocks[number].compute())
    else:
        for start in range(0, store.shape[0], store.chunks[0]):
            _ = store[start : start + store.chunks[0]]


def read_by_blocks(store):
    for _ in stored_rows(store).blocks(BLOCK_ROWS):
        pass


def main():
    command = parser(__doc__)
    command.add_argument("--rows", type=int, default=400_000)
    command.add_argument("--columns", type=int, default=128)
    options = command.parse_args()
    session = Session("stores", options)
    pa.set_cpu_count(options.threads)
    X = clusters(options.rows, options.columns)
    session.say(f"{len(X):,} rows x {X.shape[1]} float32, {X.nbytes / 2**20:.0f} MiB")
    kinds = {
        "Parquet, a column a feature": parquet_files,
        "Parquet, a column of lists": parquet_lists,
        "Zarr": zarr_array,
        "Dask": dask_array,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, write in kinds.items():
            place = Path(folder) / name
            store = write(X, place)
            n_bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
            session.compare(
                f"{name}, {n_bytes / 2**20:.0f} MiB",
                {
                    "files alone": lambda place=place: read_files(place),
                    "library": lambda store=store: read_by_library(store),
                    "blocks": lambda store=store: read_by_blocks(store),
                    "as_rows": lambda store=store: as_rows(store),
                },
                ("files alone", "library"),
            )
    session.close()


if __name__ == "__main__":
    main()
