"""Where a model is trained: which device is meant, what it has, and what it runs out of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skvae.exceptions import DeviceMemoryError

__all__ = [
    "has_fused_optimizer",
    "has_products_in",
    "memory_explained",
    "precision_of_step",
    "resolve_device",
]

# Multiply-adds of a batch forward from which products in bfloat16 are worth it. On a CPU steps
# of dense nets took 0.52 to 0.95 of the time of float32 from 2**25 on, 0.93 to 1.11 from 2**24
# on and 1.07 to 1.9 below. A GPU waits for kernels, of which bfloat16 has more: that is not
# measured, but a size whose products take a third of a millisecond at 80 teraflops in float32.
LEAST_OF_BF16 = {"cpu": 2**25, "cuda": 2**32}


def resolve_device(device: str) -> str:
    """Return the device to train on, or say why the one asked for is not there.

    ``"auto"`` is the current CUDA device where there is one, else the CPU.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda', 'cuda:<number>' or 'mps', got {device!r}."
        ) from error
    available = (
        kind == "cpu"
        or (kind == "cuda" and (torch.device(device).index or 0) < torch.cuda.device_count())
        or (kind == "mps" and torch.backends.mps.is_available())
    )
    if not available:
        raise ValueError(
            f"device={device!r} is not available here ({torch.cuda.device_count()} CUDA "
            "devices are visible): pass device='cpu', or device='auto' to use a GPU only "
            "where there is one."
        )
    return device


def has_fused_optimizer(device: str) -> bool:
    """Whether torch has a fused kernel of AdamW on this device."""
    return torch.device(device).type in ("cpu", "cuda")


def has_products_in(precision: str, device: str) -> bool:
    """Whether a device has instructions for matrix products in this precision.

    Only CPUs whose library of kernels can be asked are; any other device is trusted.
    """
    if precision == "fp32" or torch.device(device).type != "cpu":
        return True
    ask = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", None)
    return ask is None or not torch.backends.mkldnn.is_available() or bool(ask())


def precision_of_step(n_multiply_adds: int, device: str) -> str:
    """Return the precision in which the products of a step take less time on a device.

    Parameters
    ----------
    n_multiply_adds : int
        Of a pass of a batch forward.
    device : str
        Where the step is taken.

    Returns
    -------
    precision : {"fp32", "bf16"}
        "bf16" where the device multiplies in it faster than in float32, and the step is large
        enough for that to outweigh the copies of weights and codes that it takes.
    """
    kind = torch.device(device).type
    gains = n_multiply_adds >= LEAST_OF_BF16.get(kind, math.inf) and _is_fast_in_bf16(device)
    return "bf16" if gains else "fp32"


def _is_fast_in_bf16(device: str) -> bool:
    """Whether a CPU or a GPU of NVIDIA or AMD has instructions for products in bfloat16."""
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # The library of kernels says yes to processors with AVX-512 that have to convert.
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return ask is not None and bool(ask()) and has_products_in("bf16", device)


@contextmanager
def memory_explained(batch_size: int, device: str) -> Iterator[None]:
    """Say which batch size to try where the device has no memory for this one."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        advice = (
            f"try batch_size={batch_size // 2}, data_on_device=False"
            if batch_size > 1
            else "try a smaller net"
        )
        raise DeviceMemoryError(
            f"{device!r} ran out of memory at batch_size={batch_size}: {advice}, or another "
            f"device. {str(error).splitlines()[0]}"
        ) from error
