"""Files of a module for other programs: ONNX, and the programs of `torch.export`."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skvae._common.ambient import undisturbed
from skvae._common.whole_files import write_whole
from skvae.nets.networks import AutoregressiveDecoder
from skvae.nets.standalone import CodeWitness, RowDecoder, RowEncoder

__all__ = ["export_module"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Names of what goes in and of what comes out.
NAMES: dict[type[nn.Module], tuple[str, tuple[str, ...]]] = {
    RowEncoder: ("rows", ("mean", "log_variance")),
    RowDecoder: ("codes", ("rows",)),
    CodeWitness: ("codes", ("log_q",)),
}
# What ONNX takes beside torch.
ONNX_PACKAGES = ("onnx", "onnxscript")
# Columns of an autoregressive decoder, whose layers a file has once for each.
MOST_COLUMNS = 32
# They tell of their own progress, and of operators that no module here has.
TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def export_module(
    module: RowEncoder | RowDecoder | CodeWitness, path: str | os.PathLike, dtype: str
) -> None:
    """Write a module to a file.

    Parameters
    ----------
    module : RowEncoder, RowDecoder or CodeWitness
        Is moved to the CPU.
    path : str or path
        Of the file, which ends in ".onnx" or ".pt2".
    dtype : {"float32", "float64"}
        Of what goes in and comes out.
    """
    path = Path(path)
    write = {".onnx": _as_onnx, ".pt2": _as_program}.get(path.suffix)
    if write is None:
        raise ValueError(f'path must end in ".onnx" or ".pt2", got {str(path)!r}.')
    if dtype not in tuple(DTYPES):
        raise ValueError(f"dtype must be one of {tuple(DTYPES)}, got {dtype!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder: make it, or name another.")
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if write is _as_onnx and missing:
        raise ImportError(
            f"ONNX takes the package {missing[0]}, which is not installed: pip install "
            "'skvae[export]', or export to a path that ends in .pt2."
        )
    _check_passes(module)
    with undisturbed(), _silent():
        content = write(_traced(module.cpu(), DTYPES[dtype]), *NAMES[type(module)])
    write_whole(path, lambda file: file.write(content))


def _check_passes(module: nn.Module) -> None:
    """Refuse a decoder that is passed through once for each of many columns."""
    decoder = getattr(module, "decoder", None)
    if isinstance(decoder, AutoregressiveDecoder) and len(decoder.layers.order) > MOST_COLUMNS:
        raise ValueError(
            f"An autoregressive decoder of {len(decoder.layers.order)} columns takes as many "
            f"passes for a row, and a file with all of them one after the other is made for at "
            f"most {MOST_COLUMNS}: use decoder_, or export the encoder."
        )


def _traced(module: nn.Module, dtype: torch.dtype) -> torch.export.ExportedProgram:
    """Record what the module does to a batch of any size."""
    n_columns: Any = (
        module.units.n_features if isinstance(module, RowEncoder) else module.latent_dim
    )
    example = torch.zeros(2, n_columns, dtype=dtype)
    # Torch 2.5 and 2.7 do not take it without a greatest size.
    any_size = ({0: torch.export.Dim("batch", max=2**62)},)
    try:
        # With gradients the layers take the ways that all programs know.
        with torch.enable_grad():
            program = torch.export.export(
                module, (example,), dynamic_shapes=any_size, strict=False
            )
    except Exception as error:
        raise ValueError(
            "torch.export does not take this module with a batch of any size. A module of "
            "one's own must not turn the number of rows, or what is in them, into numbers of "
            f"Python: {error}"
        ) from error
    for node in program.graph.nodes:
        # Paths of files on this machine.
        node.meta.pop("stack_trace", None)
    return program


def _as_program(
    program: torch.export.ExportedProgram, given: str, made: tuple[str, ...]
) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def _as_onnx(program: torch.export.ExportedProgram, given: str, made: tuple[str, ...]) -> bytes:
    found = torch.onnx.export(
        program, dynamo=True, input_names=[given], output_names=list(made), verbose=False
    )
    assert found is not None
    model = found.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        # How torch was led to it.
        part.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    # Of the shapes between, under another name.
    model.graph.ClearField("value_info")
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def _silent() -> Iterator[None]:
    """Keep exporters from telling of their progress; filters and levels come back."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
