"""Where a model is trained: which device is meant, what it has, and what it runs out of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skvae.exceptions import DeviceMemoryError

__all__ = [
    "has_fused_optimizer",
    "has_products_in",
    "memory_explained",
    "resolve_device",
]


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
