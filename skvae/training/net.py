"""The training path: one skorch net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import EpochTimer
from skorch.history import History
from torch import Tensor
from torch.amp import GradScaler

from skvae._common.randomness import torch_generator
from skvae._common.threads import one_thread_if
from skvae.nets.networks import ModuleDecoder, ModuleEncoder, standard_normal
from skvae.nets.own_modules import normalises_batches, single_row_explained
from skvae.training.aggressive import with_encoder_steps
from skvae.training.averages import MovingAverage
from skvae.training.batches import filled_up, without_single_row
from skvae.training.denormals import without_denormals
from skvae.training.devices import memory_explained, precision_of_step
from skvae.training.events import TellingNet
from skvae.training.optimizer import FlatAdamW
from skvae.training.own_optimizer import (
    PlainWeights,
    clip_gradients,
    gradients_of,
    weights_of,
)
from skvae.training.progress import EpochLog, silent, told
from skvae.training.ranks import Ranks
from skvae.training.records import OF_SOME_EPOCHS, means_of, plain_records, record_epoch
from skvae.training.steps import DirectStep, step_for
from skvae.training.stopping import StopTraining

__all__ = ["VAENet"]

# Of the gradients of float16, where a longer training ends up of itself.
INITIAL_SCALE = 2.0**10
# Multiply-adds of a batch below which a step is kept on one thread: a second one would save a
# fifth of its time at the most, and cost its last digits in worker processes.
SMALL_STEP = 2**25


class VAENet(TellingNet):
    """Net of skorch that trains from memory and reads its losses off the device once an epoch.

    Parameters
    ----------
    *args
        As in `skorch.NeuralNet`. Datasets are `skvae.training.batches.TrainingRows`.
    seed : int, default=0
        Drives the order of the rows and the noise of each epoch.
    log_scale_sum : float, default=0.0
        Sum over the columns of the log of the unit that the rows were divided by: what
        takes a log density of standardised rows back to the units of the data. Where entries
        are missing, the average of that over the rows that are trained on.
    held_out_log_scale_sum : float, default=0.0
        The same of the held-out rows.
    kl_schedule : KLSchedule or None, default=None
        Share of the KL weight in each step; None leaves it as it is.
    lr_schedule : LRSchedule or None, default=None
        Factor on the learning rates in each step; None leaves them as they are.
    max_grad_norm : float or None, default=None
        Norm that the gradients of a step are scaled down to; None leaves them as they are.
    aggressive_steps : int, default=0
        Encoder-only steps before each step of an aggressive phase.
    ema_decay : float or None, default=None
        Of the moving average of the weights that is judged and kept; None keeps the weights.
    compile_mode : str or None, default=None
        Mode of `torch.compile` for the steps of training; None leaves them as they are.
    **kwargs
        As in `skorch.NeuralNet`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import TeacherGuidedVAE
    >>> vae = TeacherGuidedVAE(alignment_weight=0, max_epochs=2).fit(load_iris().data)
    >>> vae.net_.history[:, "epoch"]
    [1, 2]
    """

    is_aggressive_: bool
    # Of a net that it goes on from: epochs at the front of the history, and before those.
    n_epochs_resumed_ = 0
    n_epochs_forgotten_ = 0
    # Of a training that was killed and goes on.
    n_epochs_done_ = 0
    n_steps_done_ = 0
    # While training alone: what is compiled cannot be pickled.
    _compiled: Callable[..., dict[str, Tensor]] | None = None
    _direct_step: DirectStep | None = None
    average_: MovingAverage | None = None
    ranks_: Ranks | None = None
    _progress: Any = None

    def __init__(
        self,
        *args,
        seed=0,
        log_scale_sum=0.0,
        held_out_log_scale_sum=0.0,
        kl_schedule=None,
        lr_schedule=None,
        max_grad_norm=None,
        aggressive_steps=0,
        ema_decay=None,
        compile_mode=None,
        **kwargs,
    ):
        self.seed = seed
        self.log_scale_sum = log_scale_sum
        self.held_out_log_scale_sum = held_out_log_scale_sum
        self.kl_schedule = kl_schedule
        self.lr_schedule = lr_schedule
        self.max_grad_norm = max_grad_norm
        self.aggressive_steps = aggressive_steps
        self.ema_decay = ema_decay
        self.compile_mode = compile_mode
        super().__init__(*args, **kwargs)

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("print_log", EpochLog(keys_ignored=list(OF_SOME_EPOCHS))),
        ]

    def initialize_optimizer(self, *args, **kwargs):
        """Make the optimiser, and note where the learning rates begin."""
        super().initialize_optimizer(*args, **kwargs)
        if self.lr_schedule is not None:
            for group in self.optimizer_.param_groups:
                group["initial_lr"] = group["lr"]
        return self

    def initialize_module(self, *args, **kwargs):
        """Make the module, and choose the precision of its products where that is "auto"."""
        super().initialize_module(*args, **kwargs)
        if self.module__precision == "auto":
            # What modules of someone else bear nobody knows.
            parts = (type(self.module_.encoder), type(self.module_.decoder))
            has_own_layers = parts[0] is not ModuleEncoder and parts[1] is not ModuleDecoder
            size = self.batch_size * self.module_.multiply_adds
            self.take_precision(
                precision_of_step(size, self.device) if has_own_layers else "fp32"
            )
        return self

    def take_precision(self, precision: str) -> None:
        """Have the products of training in this precision."""
        self.module__precision = self.module_.precision = precision

    def get_iterator(self, dataset, training=False):
        """Return batches that are cut from whole blocks of rows."""
        batches = dataset.batches(self.batch_size, self.device)
        batches.ranks = self.ranks_
        return batches

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train as skorch does; `interrupted_` says whether a person ended it early."""
        self.interrupted_ = False
        # Gradients below the range of float16 would be lost: they are scaled up, by a factor
        # that is halved, and the step left out, when one of them overflows.
        earlier = getattr(self, "scaler_", None)
        self.scaler_ = GradScaler(
            torch.device(self.device).type,
            init_scale=INITIAL_SCALE,
            enabled=self.module_.precision == "fp16",
        )
        # A call of partial_fit may be a single step: it goes on with the factor that was found.
        if earlier is not None and earlier.is_enabled() and self.scaler_.is_enabled():
            self.scaler_.load_state_dict(earlier.state_dict())
        self.n_steps_ = self.n_steps_done_
        epochs = (self.max_epochs if epochs is None else epochs) - self.n_epochs_done_
        self.n_epochs_done_ = self.n_steps_done_ = 0
        self.listen()
        self.criterion_.ranks = self.ranks_
        # One is there already where a training that was killed goes on.
        if self.average_ is None and self.averages():
            with one_thread_if(True):
                self.average_ = MovingAverage(self.module_, self.ema_decay)
        if self.compile_mode is not None:
            # Every batch has the same shape: nothing is compiled twice.
            self._compiled = torch.compile(batch_sums, dynamic=False, mode=self.compile_mode)
        elif X.weights is None:
            self._direct_step = step_for(self.module_, self.criterion_)
        with one_thread_if(self.is_small()):
            try:
                with (
                    memory_explained(self.batch_size, self.device),
                    single_row_explained(),
                    without_denormals(),
                    told(self, X, epochs),
                ):
                    if self.ranks_ is not None:
                        self.ranks_.equalise(self.module_)
                    return super().fit_loop(X, y, epochs, **fit_params)
            except KeyboardInterrupt as end:
                self.interrupted_ = not isinstance(end, StopTraining)
                # An epoch counts once its time has been taken, after all its passes.
                if self.history and "dur" not in self.history[-1]:
                    self.history.pop()
            finally:
                if self.average_ is not None:
                    self.average_.show()
                self._weights.release()
                self.average_ = self.ranks_ = self.criterion_.ranks = None
                self._compiled = self._direct_step = None
        return self

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run over all batches, then record the mean of each term over the rows."""
        if iterator is None:
            return
        self._set_training(training)
        if training and self.average_ is not None:
            self.average_.hide()
        device = iterator.device
        epoch = self.history[-1, "epoch"]
        if training:
            batches = self.shuffled(iterator, torch_generator(self.seed, "shuffle", epoch))
            n_rows = len(iterator)
            if self._compiled and n_rows > self.batch_size:
                batches = filled_up(batches, self.batch_size)
                n_rows += -n_rows % self.batch_size
            noise = torch_generator(self.seed, "noise", epoch, device=device)
            if self.aggressive_steps and self.is_aggressive_:
                batches = with_encoder_steps(
                    self, batches, iterator, self.aggressive_steps, epoch
                )
        else:
            batches = iter(iterator)
            n_rows = self.n_held_out_ = len(iterator)
            # The same noise in every epoch: what changes is the model.
            noise = torch_generator(self.seed, "validation", device=device)
        # Apple's GPUs have no float64.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        totals = torch.zeros(len(self.criterion_.terms), dtype=dtype, device=device)
        if self.tells_batches_:
            step_fn = self.announced(step_fn, training, prefix)
        for batch in batches:
            if self.ranks_ is not None:
                self.ranks_.share = iterator.shares.popleft()
            totals += step_fn(batch, generator=noise)
        if self.ranks_ is not None:
            totals = self.ranks_.total(totals)
        if training and self.average_ is not None:
            self.average_.show()
        terms = means_of(self, totals, n_rows, training)
        record_epoch(self, terms, iterator.teacher_information, training)

    def shuffled(self, iterator, generator):
        """Yield all rows once in batches, each of which the net can be trained on."""
        batches = iterator.shuffled(generator)
        return without_single_row(batches) if normalises_batches(self.module_) else batches

    def train_step(self, batch, generator):
        """Take one step of the optimiser; return the sums of the terms, on the device."""
        if self.kl_schedule is not None or self.lr_schedule is not None:
            self._follow_schedules()
            self.n_steps_ += 1
        step = self._direct_step
        # What a callback has done to gradients that are not written over is undone.
        if step is None or step.adds_to_gradients or self.tells_gradients_:
            self.optimizer_.zero_grad()
        else:
            self._weights.ready_gradients()
        # The scaler leaves all as it is unless the products are in float16.
        if step is None:
            loss, terms = self._evaluate(batch, generator)
            self.scaler_.scale(loss).backward()
        else:
            x, T = batch
            terms = step.take(x, T, self._noise(x, generator), self.scaler_.scale)
        if self.ranks_ is not None:
            terms = self._over_ranks(self.ranks_, terms)
        if self.tells_gradients_ or self.max_grad_norm is not None:
            self._revise_gradients(batch)
        if self.scaler_.is_enabled():
            self.scaler_.step(self.optimizer_)
            self.scaler_.update()
        else:
            self._weights.update()
        if self.average_ is not None:
            self.average_.update()
        return terms

    def _follow_schedules(self) -> None:
        if self.kl_schedule is not None:
            self.criterion_.kl_fraction = self.kl_schedule.fraction(self.n_steps_)
        if self.lr_schedule is not None:
            factor = self.lr_schedule.factor(self.n_steps_)
            for group in self.optimizer_.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def _over_ranks(self, ranks: Ranks, terms: Tensor) -> Tensor:
        """Add up the gradients of all ranks; return the terms of the rows of this one."""
        ranks.add_up(gradients_of(self.optimizer_))
        return self._counted(terms)

    def _counted(self, terms: Tensor) -> Tensor:
        """Return sums of terms, nothing where all rows of a batch are others' to count."""
        ranks = self.ranks_
        is_counted = ranks is None or ranks.share is None or ranks.share.weight > 0
        return terms if is_counted else torch.zeros_like(terms)

    def _revise_gradients(self, batch: Any = None) -> None:
        """Let callbacks see the gradients of a batch, if it is given; then clip them."""
        self.scaler_.unscale_(self.optimizer_)
        if self.tells_gradients_ and batch is not None:
            self.tell_gradients(batch)
            self._weights.collect_gradients()
        if self.max_grad_norm is not None:
            clip_gradients(self.optimizer_, self.max_grad_norm)

    def encoder_step(self, batch, generator):
        """Take one step of the optimiser that changes the encoder alone."""
        self._follow_schedules()
        weights = [each for each in self.module_.encoder.parameters() if each.requires_grad]
        self.optimizer_.zero_grad()
        loss, _ = self._evaluate(batch, generator)
        self.scaler_.scale(loss).backward(inputs=weights)
        self._weights.leave_out_others(weights)
        if self.max_grad_norm is not None:
            self._revise_gradients()
        self.scaler_.step(self.optimizer_)
        self.scaler_.update()

    @torch.no_grad()
    def validation_step(self, batch, generator):
        """Return the sums of the terms, on the device."""
        return self._counted(self._evaluate(batch, generator)[1])

    def _evaluate(self, batch, generator):
        x, T, *weights = batch
        sums = self._compiled if self.module_.training and self._compiled else batch_sums
        found = sums(self.module_, self.criterion_, x, T, self._noise(x, generator), *weights)
        return self.criterion_.total(found, len(x))

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n_draws = self.criterion_.n_importance_samples
        share = None if self.ranks_ is None else self.ranks_.share
        shape = (len(x) if share is None else share.n_rows, self.module_.latent_dim)
        noise = standard_normal(shape if n_draws == 1 else (n_draws, *shape), generator)
        if share is not None:
            # Drawn for the whole batch: what a row is given does not depend on who has it.
            noise = noise[..., share.rows, :]
        return noise.to(x.device)

    @property
    def _weights(self) -> FlatAdamW | PlainWeights:
        return weights_of(self.optimizer_)

    def averages(self) -> bool:
        """Whether a moving average of the weights is judged and kept."""
        # The statistics of normalised batches are those of the weights themselves.
        return self.ema_decay is not None and not normalises_batches(self.module_)

    def is_small(self) -> bool:
        """Whether a batch is too little work for a second thread."""
        return self.batch_size * self.module_.multiply_adds < SMALL_STEP

    def on_epoch_begin(self, net, **kwargs):
        """Begin a record, numbered from the first epoch of all."""
        super().on_epoch_begin(net, **kwargs)
        self.history.record("epoch", self.n_epochs_forgotten_ + len(self.history))

    def _initialize_optimizer(self, reason=None):
        # Every fit ends with it, and skorch would print each time that it was done before.
        with silent(self):
            super()._initialize_optimizer(reason)

    def resume_from(self, earlier: VAENet, most_epochs: int | None = None) -> None:
        """Take over another net's history and the state of its optimiser, not its settings.

        Of the history the last `most_epochs` are kept; None keeps all.
        """
        kept = earlier.history if most_epochs is None else earlier.history[-most_epochs:]
        n_dropped = len(earlier.history) - len(kept)
        self.n_epochs_forgotten_ = earlier.n_epochs_forgotten_ + n_dropped
        self.n_epochs_resumed_ = len(kept)
        self.history_ = History(kept)
        # A net that was trained in a stack has none.
        if hasattr(earlier, "scaler_"):
            self.scaler_ = earlier.scaler_
        # By name: a variance that is learned in one net and fixed in the other has moments
        # in one of them only.
        moments = weights_of(earlier.optimizer_).moments()
        before = {
            (name, parameter.shape): moments[parameter]
            for name, parameter in earlier.module_.named_parameters()
            if parameter in moments and type(earlier.optimizer_) is type(self.optimizer_)
        }
        weights_of(self.optimizer_).adopt(
            {
                parameter: before[name, parameter.shape]
                for name, parameter in self.module_.named_parameters()
                if (name, parameter.shape) in before
            }
        )

    def plain_history(self) -> list[dict[str, float]]:
        """One record an epoch of its own, of numbers alone."""
        return plain_records(self.history[self.n_epochs_resumed_ :])


def batch_sums(module, criterion, x, T, noise, weights=None):
    """Return sums of the terms of a batch: all of a step forward worth compiling."""
    outputs = module(x, noise, criterion.n_importance_samples)
    return criterion.sums(x, T, outputs, module, weights)
