"""The loop by hand on a device: eager, as a CUDA graph of its step, and its products alone."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from hand_loop import encode, objective
from products import training_pass

WEIGHTS = {"beta": 1.0, "alignment_weight": 10.0}
WARM_UP_STEPS = 3


@contextmanager
def in_precision(name):
    """Let products of float32 take TF32 inside, or not."""
    before = torch.get_float32_matmul_precision()
    in_convolutions = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = in_convolutions


class StepLoop:
    """Training by hand, in steps on two tensors that batches are copied to.

    Parameters
    ----------
    table : Table
        Rows and their targets, on the device.
    precision : {"fp32", "tf32", "bf16"}
        Of products; TF32 is torch's own setting.
    captured : bool, default=False
        Whether the step is captured once and replayed from then on, where the device can. A
        batch is then drawn on the device, and short ones are left out.
    """

    def __init__(self, table, precision, captured=False):
        self.table, self.precision, self.captured = table, precision, captured
        self.model = table.model()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=1e-3,
            weight_decay=0.0,
            capturable=captured and table.device.type == "cuda",
        )
        size = table.batch_size
        self.x, self.T = table.rows[:size].clone(), table.targets[:size].clone()
        self.total = torch.zeros((), device=table.device)
        self.graph = None

    def step(self, x, T):
        self.optimizer.zero_grad(set_to_none=not self.captured)
        # What is cast is not kept from one replay to the next.
        kept = {"cache_enabled": not self.captured, "enabled": self.precision == "bf16"}
        with torch.autocast(self.table.device.type, dtype=torch.bfloat16, **kept):
            outputs = self.model(x)
        outputs = tuple(each.float() for each in outputs)
        loss = objective(x, T, outputs, self.table.variance, **WEIGHTS)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self.step(self.x, self.T)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.total += len(self.x) * self.step(self.x, self.T)

    def train(self, n_epochs):
        """Take so many passes over the rows."""
        table = self.table
        if self.captured and table.device.type == "cuda":
            self.capture()
        for _ in range(n_epochs):
            total = 0.0
            for chosen in torch.randperm(len(table.rows), device=table.device).split(
                table.batch_size
            ):
                if not self.captured:
                    loss = self.step(table.rows[chosen], table.targets[chosen])
                    # As most loops do, which waits for the device.
                    total += len(chosen) * loss.item()
                elif len(chosen) == table.batch_size:
                    torch.index_select(table.rows, 0, chosen, out=self.x)
                    torch.index_select(table.targets, 0, chosen, out=self.T)
                    if self.graph is not None:
                        self.graph.replay()
                    else:
                        self.total += len(chosen) * self.step(self.x, self.T)
            if self.captured:
                total = self.total.item()
                self.total.zero_()


def products_of(table, precision):
    """Return a function that takes the products of so many epochs of a dense net."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = (*table.X.shape, table.targets.shape[1], table.batch_size)
    return training_pass(*size, device=table.device, dtype=dtype)


def encode_all(model, rows, center, scale):
    """Read all rows and take the codes to the host, as `transform` does."""
    return encode(model, rows, center, scale)[0].cpu()
