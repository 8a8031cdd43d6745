"""Private random streams: no global random state is read or written.

Each use of randomness has a stream of its own, named by what it is for and by
the epoch, so that nothing has to be carried along or pickled, and one more draw
in one place changes no other.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from skvae._common.threads import surely

__all__ = [
    "derive_seed",
    "draw_seed",
    "private_torch_state",
    "seed_unset_random_states",
    "torch_generator",
]

# There is one global state for all threads of a process.
_torch_state = threading.RLock()


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return one seed for all streams; None means fresh entropy, not the global state."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(np.iinfo(np.int32).max))
    is_whole = isinstance(random_state, (int, np.integer)) and random_state is not True
    if not is_whole or random_state is False or random_state < 0:
        raise ValueError(
            "random_state must be a whole number of at least 0, a numpy.random.RandomState or "
            f"None, got {random_state!r}."
        )
    return int(random_state)


def derive_seed(seed: int, *stream: str | int) -> int:
    """Return the seed, below 2**32, of the stream with this name under `seed`."""
    key = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in stream]
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])


def torch_generator(
    seed: int, *stream: str | int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return a generator on `device` for the stream with this name under `seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *stream))


@contextmanager
def private_torch_state(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Lend code that draws from torch's global generator a seeded one; put it back after.

    For modules that are not ours: those have no generator of their own. One thread at a
    time.
    """
    on_gpu = torch.device(device).type == "cuda"
    devices = [torch.device(device)] if on_gpu else []
    with _torch_state:
        before = torch.get_rng_state()
        try:
            with torch.random.fork_rng(devices=devices):
                # torch.manual_seed would also seed every GPU.
                torch.default_generator.manual_seed(seed)
                if on_gpu:
                    with torch.cuda.device(device):
                        torch.cuda.manual_seed(seed)
                yield
        except BaseException:
            # An interrupt may have hit fork_rng as it ended.
            surely(lambda: torch.set_rng_state(before))
            raise


def seed_unset_random_states(estimator: Any, seed: int) -> None:
    """Give every `random_state` of `estimator` that is None a seed derived from `seed`.

    Those inside an estimator that says ``_seeds_its_parts`` are left to it.
    """
    parameters = estimator.get_params(deep=True)
    left_alone = tuple(
        f"{name}__" if name else ""
        for name, part in [("", estimator), *parameters.items()]
        if getattr(type(part), "_seeds_its_parts", False)
    )
    unset = {
        name: derive_seed(seed, name)
        for name, value in parameters.items()
        if name.split("__")[-1] == "random_state"
        and value is None
        and not any(
            name.startswith(prefix) and "__" in name.removeprefix(prefix)
            for prefix in left_alone
        )
    }
    if unset:
        estimator.set_params(**unset)
