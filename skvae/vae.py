"""TeacherGuidedVAE: the estimator. It checks its input, builds a net and asks it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import _safe_indexing, gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import (
    _num_samples,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skvae.advice import (
    warn_if_uncertified,
    warn_if_unguarded,
    warn_of_interruption,
    warn_of_weak_alignment,
)
from skvae.batches import TrainingRows, is_large
from skvae.exceptions import DivergenceError
from skvae.fingerprint import RowFingerprint
from skvae.inference import CHUNK_ROWS, CodeReadings, Inference
from skvae.information import (
    BoundaryStatistics,
    best_constant_student,
    teacher_information,
)
from skvae.information.boundary import check_informative
from skvae.prefit import prefit_encoder
from skvae.randomness import derive_seed, draw_seed, torch_generator
from skvae.scaling import Standardization
from skvae.settings import check_against_teacher, check_settings, check_unit_interval
from skvae.simplex import Design, analytic_code, design_alpha
from skvae.teachers import fit_teacher, teacher_distributions
from skvae.training import VAENet, build_net
from skvae.warm_start import (
    check_donor,
    copy_weights,
    resolve_donor,
    same_settings,
    unfrozen,
)

__all__ = ["TeacherGuidedVAE"]

# Rows whose distributions are worked on at a time.
BLOCK_ROWS = 2**16
# Rows, evenly spaced, from which a margin is designed.
DESIGN_ROWS = 100_000


class TeacherGuidedVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Variational autoencoder whose latent code is held to a fixed teacher.

    Each row costs, in nats, summed over dimensions and averaged over rows,

        -E_q log p(x|z) + beta * KL(q(z|x) || p(z))
        + alignment_weight * KL(T(.|x) || q(.|z))

    where ``T`` is a fixed teacher and ``q(k|z)`` a witness: a softmax head that sees the
    code ``z`` and nothing else. A witness that costs less than the teacher
    information is not constant in ``x``, and so ``z`` is not:
    `ConstantCollapseCertificate` measures by how much. That is all it says; a certified
    code may still be a poor one in every other respect.

    Parameters
    ----------
    latent_dim : int, default=16
        Dimensions of the latent code.
    hidden_layer_sizes : sequence of int, default=(256, 256)
        Widths of the encoder's hidden layers; the decoder has them in reverse. Empty
        makes both linear.
    teacher : estimator with fit and predict_proba, or None, default=None
        Cloned and fitted on the training rows (a classifier on `y` too); one in a
        `sklearn.frozen.FrozenEstimator` is used as it is. None is
        `GaussianMixtureTeacher()`.
    alignment_weight : float, default=10.0
        Weight of the alignment, at least 0; 0 is the plain VAE. Where the decoder gains
        nothing from the code, collapse is optimal up to ``alignment_weight = beta``.
    beta : float, default=1.0
        Weight of the divergence from the prior, at least 0.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Decoder distribution; "bernoulli" wants X in [0, 1].
    decoder_variance : float or "learned", default="learned"
        Variance of the Gaussian decoder in the squared units of X, one for all columns;
        "learned" learns one a column.
    witness_input : {"sample", "mean"}, default="sample"
        What the witness reads in training: a draw of the code, as the decoder does, or
        the posterior mean.
    witness : {"linear", "simplex"}, default="linear"
        "linear" is trained with the rest. "simplex" is fixed, on the vertices of a regular
        simplex in the first K - 1 dimensions of the code for a teacher with K components:
        a margin can be promised before training, `designed_margin_`. It wants
        ``latent_dim >= K - 1`` and a teacher without zeros.
    witness_scale : float, default=2.0
        Factor on the vertices of a simplex witness; positive. The larger, the smaller the
        codes that it reads and the less noise they bear.
    prefit_epochs : int, default=0
        Passes over the rows before the first epoch, in which the encoder is regressed on
        the codes that a simplex witness reads best, which overwrites the codes that
        another estimator lent. `warm_start=True` skips them once there is a model to continue.
    prefit_alpha : float or "design", default="design"
        Factor on these codes, positive. "design" is where alignment and divergence from
        the prior balance, see `skvae.simplex.design_alpha`.
    guard : float or None, default=None
        Margin to keep, in nats, at the read that the witness is trained on. A new training
        begins with a KL weight of 0. After each epoch, if its margin (on the held-out rows,
        if there are any) is below the guard, the weight is halved; if not, ``0.05 beta`` is
        handed back, up to `beta`, which takes 20 epochs. It stays as it is where the
        teacher information of these rows is not above the guard.
    batch_size : int, default=128
        Rows in a batch.
    max_epochs : int, default=100
        Passes over the training rows.
    lr : float, default=1e-3
        Learning rate of AdamW.
    weight_decay : float, default=0.0
        Weight decay of AdamW, on the weight matrices.
    early_stopping : bool, default=False
        Hold out rows, stop when their loss no longer falls, keep the best weights. With a
        `guard` only epochs count whose held-out margin reaches it, once the KL weight has been
        handed back.
    validation_fraction : float, default=0.1
        Share of the rows held out, drawn at random, in (0, 1).
    n_iter_no_change : int, default=10
        Epochs without improvement before stopping.
    tol : float, default=1e-4
        Least fall of the held-out loss, in nats, that is an improvement.
    warm_start : bool or fitted TeacherGuidedVAE, default=False
        True: `fit` continues with this estimator's own weights and teacher. A fitted
        estimator: start from its weights, and from its teacher where `teacher` is None;
        it is left untouched. Another teacher starts the witness anew. Wrap the donor in a
        `FrozenEstimator` where the estimator will be cloned.
    max_teacher_rows : int, default=100_000
        The teacher is fitted to no more training rows than these, drawn at random; all are
        taught.
    memory : str, path, joblib.Memory or None, default=None
        Where to keep fitted teachers, as in `sklearn.pipeline.Pipeline`: a grid search with
        an integer `random_state` then fits one teacher for each fold.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto": CUDA where there is one, else the CPU.
    precision : {"fp32", "bf16"}, default="fp32"
        Of the matrix products in training. "bf16" is faster where the processor has such
        products, at the price of digits; weights, loss terms, and all that a fitted model
        is asked, stay in float32.
    random_state : int, RandomState instance or None, default=None
        Drives all that is random; no global random state is read or changed. The same
        integer gives the same result to the bit on one machine's CPU. Training that
        continues keeps the seed that it began with.
    verbose : int, default=0
        0 is silent; above, a line an epoch.

    Attributes
    ----------
    teacher_ : estimator
        The fitted teacher.
    teacher_sees_ : {"X", "X_teacher"}
        Which rows the teacher was shown.
    teacher_information_ : float
        ``I_T`` of the training rows in nats: what the best constant student costs. After
        `partial_fit` this and the margin are those of its last rows.
    average_teacher_ : ndarray of shape (n_components,)
        ``Tbar`` of the training rows: the best constant student.
    margin_ : float
        ``G = I_T - cost`` of the training rows in nats, the witness reading the
        posterior mean. Positive: not constant on the training rows.
    history_ : list of dict
        One record an epoch, averages over its rows as training went: ``epoch``,
        ``loss``, ``elbo``, ``reconstruction`` (``-E log p(x|z)``), ``rate`` (KL from the
        prior), ``alignment``, ``margin``, ``beta`` (the weight in force, less than `beta`
        where a guard holds it back), ``seconds``; with early stopping the same of
        the held-out rows as ``valid_*``, and ``valid_lower_bound``: at 0.95 the margin of
        the population is above it, for each epoch by itself, at the read trained on.
        ``valid_loss`` is at `beta` whatever the guard does.
    design_ : Design
        The posterior that the simplex witness was designed for, computed before training.
        With ``witness="simplex"`` and a positive `alignment_weight` only, and no more once
        `partial_fit` continues with other weights or another scale.
    designed_margin_ : float
        Its margin, in nats, at the read trained on; at a sample a lower bound on it. Where
        `design_` is.
    net_ : VAENet
        The trained skorch net.
    device_ : str
        The device it is on.
    n_iter_ : int
        Epochs trained.
    fingerprint_ : RowFingerprint
        Hashes that tell the rows of `fit`, and those of the models it started from, from
        others; no data.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns seen in `fit`, where they are all strings.

    See Also
    --------
    ConstantCollapseCertificate : Margin of a fitted estimator on any rows.
    GaussianMixtureTeacher : The default teacher.

    Notes
    -----
    With the Gaussian likelihood the columns are standardised inside, and the encoder
    sees no further than ten standard deviations; the ELBO, `decoder_variance`,
    `inverse_transform` and `sample` are in the units of X all the same.

    References
    ----------
    arXiv 2605.05813 (teacher, witness, boundary); arXiv 2605.18224 (simplex witness,
    prefit); Kingma and Welling, arXiv 1312.6114
    (variational autoencoder); Higgins et al., ICLR 2017 (beta).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import GaussianMixtureTeacher, TeacherGuidedVAE
    >>> X = load_iris().data
    >>> teacher = GaussianMixtureTeacher(n_components=3)
    >>> vae = TeacherGuidedVAE(latent_dim=2, teacher=teacher, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)
    >>> vae.margin_ > 0
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "teacher": [HasMethods(["fit", "predict_proba"]), None],
        "alignment_weight": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
        "decoder_variance": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"learned"}),
        ],
        "witness_input": [StrOptions({"sample", "mean"})],
        "witness": [StrOptions({"linear", "simplex"})],
        "witness_scale": [Interval(Real, 0, None, closed="neither")],
        "prefit_epochs": [Interval(Integral, 0, None, closed="left")],
        "prefit_alpha": [Interval(Real, 0, None, closed="neither"), StrOptions({"design"})],
        "guard": [Interval(Real, 0, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean", HasMethods(["fit", "witness_log_proba"])],
        "max_teacher_rows": [Interval(Integral, 2, None, closed="left")],
        "memory": [None, str, os.PathLike, HasMethods(["cache"])],
        "device": [str],
        "precision": [StrOptions({"fp32", "bf16"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    net_: VAENet
    teacher_: Any
    _seed: int
    _units: Standardization
    _teacher_setting: Any
    _design_setting: tuple[Any, ...]
    average_teacher_: NDArray
    teacher_sees_: str
    fingerprint_: RowFingerprint
    history_: list[dict[str, float]]
    design_: Design

    def __init__(
        self,
        *,
        latent_dim=16,
        hidden_layer_sizes=(256, 256),
        teacher=None,
        alignment_weight=10.0,
        beta=1.0,
        likelihood="gaussian",
        decoder_variance="learned",
        witness_input="sample",
        witness="linear",
        witness_scale=2.0,
        prefit_epochs=0,
        prefit_alpha="design",
        guard=None,
        batch_size=128,
        max_epochs=100,
        lr=1e-3,
        weight_decay=0.0,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        max_teacher_rows=100_000,
        memory=None,
        device="auto",
        precision="fp32",
        random_state=None,
        verbose=0,
    ):
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.teacher = teacher
        self.alignment_weight = alignment_weight
        self.beta = beta
        self.likelihood = likelihood
        self.decoder_variance = decoder_variance
        self.witness_input = witness_input
        self.witness = witness
        self.witness_scale = witness_scale
        self.prefit_epochs = prefit_epochs
        self.prefit_alpha = prefit_alpha
        self.guard = guard
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.max_teacher_rows = max_teacher_rows
        self.memory = memory
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None, X_teacher: Any = None) -> TeacherGuidedVAE:
        """Fit the teacher, then train the autoencoder and its witness.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, at least two, finite, in any units.
        y : array-like of shape (n_samples,) or None, default=None
            Passed to the teacher's `fit`: labels where it is a classifier.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows (an augmentation, another modality, extracted
            features), for the teacher to see in place of X.

        Returns
        -------
        self : TeacherGuidedVAE
            The fitted estimator. When an error is raised it is as it was before.

        Raises
        ------
        ValueError
            For rows or parameters that cannot be trained on.
        ConstantTeacherError
            If the teacher says the same of every row.
        DivergenceError
            If a term of the loss stops being finite; names the epoch and the term.

        Warns
        -----
        UncertifiedWarning
            If alignment was asked for and `margin_` is not positive, or no epoch reached the
            guard.
        WeakAlignmentWarning
            If ``0 < alignment_weight <= beta`` and there is no guard.
        InterruptedFitWarning
            After Ctrl-C in an epoch; what was trained so far is kept.
        """
        warn_of_weak_alignment(self)
        with self._unchanged_on_error(), config_context(array_api_dispatch=False):
            resume = self._resumes()
            first = len(self.history_) if resume else 0
            self._train(X, y, X_teacher, resume=resume)
            # The moments of the optimiser are twice the size of the weights.
            self.net_.initialize_optimizer()
            warn_of_interruption(self)
            warn_if_unguarded(self, first)
            warn_if_uncertified(self)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self, X: ArrayLike, y: Any = None, X_teacher: Any = None
    ) -> TeacherGuidedVAE:
        """Train for one pass over these rows, continuing where the last call stopped.

        The first call fits the teacher and the standardisation on its rows and keeps
        them: give it rows enough to stand for all, or a teacher that is frozen.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. The first call needs at least two, a later one may be a single row.
        y : array-like of shape (n_samples,) or None, default=None
            Passed to the teacher's `fit` in the first call.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows, for the teacher to see in place of X.

        Returns
        -------
        self : TeacherGuidedVAE
            The estimator. When an error is raised it is as it was before.

        Raises
        ------
        ValueError, ConstantTeacherError, DivergenceError
            As in `fit`.
        """
        resume = self.__sklearn_is_fitted__()
        if not resume:
            warn_of_weak_alignment(self)
        with self._unchanged_on_error(), config_context(array_api_dispatch=False):
            self._train(X, y, X_teacher, resume=resume, one_pass=True)
            warn_of_interruption(self)
        return self

    def _train(
        self, X: Any, y: Any, X_teacher: Any, *, resume: bool, one_pass: bool = False
    ) -> None:
        """Take the whole course, with the training that the net has of its own."""
        course = self._course(X, y, X_teacher, resume=resume, one_pass=one_pass)
        with contextlib.closing(course):
            for net, rows in course:
                with torch.enable_grad():
                    net.partial_fit(rows)

    def _course(
        self, X: Any, y: Any, X_teacher: Any, *, resume: bool, one_pass: bool = False
    ) -> Generator[tuple[VAENet, TrainingRows]]:
        """Fit what has to be fitted, yield what is to be trained, then set the attributes."""
        streaming = resume and one_pass
        rows = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            reset=not resume,
            ensure_min_samples=1 if streaming else 2,
        )
        if y is not None:
            check_consistent_length(rows, y)
            y = y if hasattr(y, "iloc") else np.asarray(y)
        if X_teacher is not None:
            check_consistent_length(rows, X_teacher)
        settings = self.get_params(deep=False)
        architecture = check_settings(settings, rows)
        donor = self if resume else resolve_donor(self.warm_start, TeacherGuidedVAE)
        if donor is not None:
            check_donor(donor, X, architecture)
        seed = self._seed if resume else draw_seed(self.random_state)
        chosen = held_out = None
        if self.early_stopping and not one_pass:
            chosen, held_out = self._split(len(rows), seed)

        if donor is not None:
            units = donor._units
        elif self.likelihood == "gaussian":
            units = Standardization.of(rows, chosen)
        else:
            units = Standardization.identity(rows.shape[1])

        # A data frame reaches the teacher as it came, names and all.
        seen_by_teacher = X if hasattr(X, "iloc") else rows
        if X_teacher is not None:
            seen_by_teacher = X_teacher
        teacher_sees = "X" if X_teacher is None else "X_teacher"
        keep_teacher = self._keeps_teacher(donor, streaming)
        if donor is not None and keep_teacher:
            if donor.teacher_sees_ != teacher_sees:
                raise ValueError(
                    f"The teacher that training continues with was fitted to "
                    f"{donor.teacher_sees_}, and is now shown {teacher_sees}: pass X_teacher "
                    "both times or neither, or another teacher."
                )
            teacher = donor.teacher_
        else:
            taught = self._rows_for_teacher(len(rows), chosen, seed)
            teacher = fit_teacher(
                self.teacher,
                _safe_indexing(seen_by_teacher, taught),
                None if y is None else _safe_indexing(y, taught),
                seed,
                self.memory,
            )
        # Beyond a size that is held in float64 without a thought.
        dtype = np.float32 if is_large(rows) else np.float64
        T = teacher_distributions(teacher, seen_by_teacher, len(rows), dtype)
        validation = T_held_out = None
        if chosen is not None:
            T_held_out, T = T[held_out], T[chosen]
            validation = TrainingRows(rows, T_held_out, units, held_out)
        training = TrainingRows(rows, T, units, chosen)
        if streaming:
            information = teacher_information(T)
            average_teacher = self.average_teacher_
        else:
            information = check_informative(T)
            check_against_teacher(settings, T, T_held_out)
            average_teacher = best_constant_student(T)
        if not streaming or self._design_setting != self._current_design_setting():
            self._design(None if streaming else T, average_teacher)

        net = build_net(
            settings,
            architecture,
            units,
            average_teacher,
            seed=seed,
            max_epochs=1 if one_pass else self.max_epochs,
            held_out=validation,
        )
        net.initialize()
        if donor is not None:
            copy_weights(donor.net_, net, with_witness=keep_teacher)
        if resume:
            net.resume_from(self.net_)
        elif self.prefit_epochs:
            self._prefit(net, training, T, average_teacher)
        yield net, training
        net.train_split = None

        self.net_ = net
        self.teacher_ = teacher
        self.teacher_sees_ = teacher_sees
        self.history_ = [
            *(self.history_ if resume else []),
            *net.plain_history(len(self.history_) if resume else 0),
        ]
        self.n_iter_ = len(self.history_)
        self.average_teacher_ = average_teacher
        self.teacher_information_ = information
        self._units = units
        self._seed = seed
        self._teacher_setting = clone(self.teacher, safe=False)
        self._n_features_out = self.latent_dim
        self._check_finite(rows)
        self.margin_ = self._margin(rows, chosen, T)
        seen = RowFingerprint.of(rows)
        self.fingerprint_ = seen if donor is None else donor.fingerprint_ | seen

    def _rows_for_teacher(
        self, n_samples: int, chosen: NDArray | None, seed: int
    ) -> NDArray | slice:
        """Draw the indices of the rows that the teacher is fitted to."""
        if (n_samples if chosen is None else len(chosen)) <= self.max_teacher_rows:
            return slice(None) if chosen is None else chosen
        generator = np.random.default_rng(derive_seed(seed, "teacher rows"))
        among = n_samples if chosen is None else chosen
        return np.sort(generator.choice(among, self.max_teacher_rows, replace=False))

    def _margin(self, rows: NDArray, chosen: NDArray | None, T: NDArray) -> float:
        statistics = BoundaryStatistics()
        for block in gen_batches(len(T), BLOCK_ROWS):
            block_rows = rows[block] if chosen is None else rows[chosen[block]]
            statistics.update(T[block], self._inference.log_witness(block_rows, None))
        return statistics.margin

    def _check_finite(self, rows: NDArray) -> None:
        # The loss of an epoch is that of the weights before its last step. One pair of draws
        # is enough to see an overflow.
        if not np.isfinite(self._inference.elbo(rows[:CHUNK_ROWS], n_draws=2)).all():
            raise DivergenceError(
                f"Training diverged in the last step of epoch {self.n_iter_}: the ELBO is no "
                f"longer finite. Try a smaller lr (now {self.lr:g}), a larger "
                "decoder_variance, or look for extreme values in X."
            )

    def _resumes(self) -> bool:
        continues = isinstance(self.warm_start, (bool, np.bool_)) and bool(self.warm_start)
        return continues and self.__sklearn_is_fitted__()

    def _current_design_setting(self) -> tuple[Any, ...]:
        return (
            self.witness,
            self.witness_scale,
            self.beta,
            self.alignment_weight,
            self.witness_input,
        )

    def _design(self, T: NDArray | None, average_teacher: NDArray) -> None:
        """Promise a margin, where the witness is known and so are the rows."""
        self._design_setting = self._current_design_setting()
        # Of an earlier fit with other settings.
        for name in ("design_", "designed_margin_"):
            self.__dict__.pop(name, None)
        if T is not None and self.witness == "simplex" and self.alignment_weight > 0:
            self.design_ = design_alpha(
                T[:: max(1, len(T) // DESIGN_ROWS)],
                self.witness_scale,
                self.beta,
                self.alignment_weight,
                average_teacher,
                self.witness_input,
            )
            self.designed_margin_ = self.design_.margin
            if self.verbose:
                print(
                    f"Designed margin at the {self.witness_input}: "
                    f"{self.designed_margin_:.4f} nats (alpha {self.design_.alpha:.3f}, "
                    f"I_T {teacher_information(T):.4f})"
                )

    def _prefit(
        self, net: VAENet, training: TrainingRows, T: NDArray, average_teacher: NDArray
    ) -> None:
        if self.prefit_alpha == "design":
            alpha, variance = self.design_.alpha, self.design_.variance
        else:
            alpha = self.prefit_alpha
            variance = self.design_.variance if self.alignment_weight > 0 else 1.0
        codes = np.empty((len(T), T.shape[1] - 1), dtype=np.float32)
        for block in gen_batches(len(T), BLOCK_ROWS):
            code = analytic_code(T[block], self.witness_scale, average_teacher)
            codes[block] = alpha * code
        prefit_encoder(net, training, codes, variance, self.prefit_epochs)

    def _keeps_teacher(self, donor: TeacherGuidedVAE | None, streaming: bool) -> bool:
        if donor is None:
            return False
        if donor is self:
            return streaming or same_settings(self.teacher, self._teacher_setting)
        return self.teacher is None or unfrozen(self.teacher) is unfrozen(donor.teacher_)

    def _split(self, n_samples: int, seed: int) -> tuple[NDArray, NDArray]:
        n_held_out = max(1, round(self.validation_fraction * n_samples))
        if n_samples - n_held_out < 2:
            raise ValueError(
                f"Early stopping with validation_fraction={self.validation_fraction:g} leaves "
                f"{n_samples - n_held_out} of n_samples={n_samples} rows to train on: pass "
                "more rows or early_stopping=False."
            )
        order = np.random.default_rng(derive_seed(seed, "split")).permutation(n_samples)
        # Sorted, so that a file is read from one end to the other.
        return np.sort(order[n_held_out:]), np.sort(order[:n_held_out])

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Encode rows: the posterior means, with nothing random.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        codes : ndarray of shape (n_samples, latent_dim)
            Means of ``q(z|x)``, in float32.
        """
        return self._inference.encode(self._check_rows(X))

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Decode codes: the decoder's means, in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, latent_dim)
            Codes.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            Means of ``p(x|z)``.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=[np.float64, np.float32], input_name="X")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"Codes have latent_dim={self._n_features_out} columns, got an array of shape "
                f"{codes.shape}."
            )
        return self._inference.decode(codes)

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> NDArray[np.float64]:
        """Draw new rows from the model: a code from the prior, then a row from the decoder.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            None draws the same rows at every call on one fitted estimator.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            Draws, the decoder's noise included, in the units of X. For means without that
            noise decode codes of your own: ``inverse_transform(codes)``.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, (int, np.integer)) or n_samples < 1:
            raise ValueError(
                f"n_samples must be a whole number of at least 1, got {n_samples!r}."
            )
        return self._inference.draw(n_samples, self._generator("draws", random_state))

    def score_samples(self, X: ArrayLike) -> NDArray[np.float32]:
        """Evidence lower bound of each row at beta = 1, whatever beta it was trained with.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            ``E_q log p(x|z) - KL(q(z|x) || p(z))`` in nats, a lower bound on ``log p(x)``
            in the units of X, in float32. The expectation is an average over 16 draws of
            the noise, the same for every row, in antithetic pairs and of unit variance in
            each dimension.
        """
        return self._inference.elbo(self._check_rows(X))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean of `score_samples`: the ELBO at beta = 1, in nats a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored; there for consistency with scikit-learn.

        Returns
        -------
        elbo : float
            Higher is better.
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    def witness_log_proba(
        self,
        X: ArrayLike,
        latent: str = "mean",
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[np.float64]:
        """Log probabilities that the witness gives the teacher's components.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        latent : {"mean", "sample"}, default="mean"
            What the witness reads: the posterior mean, or one draw of the code for each
            row, which is what the decoder sees.
        random_state : int, RandomState instance or None, default=None
            Of the draws; None draws the same noise at every call on one fitted estimator.

        Returns
        -------
        log_q : ndarray of shape (n_samples, n_components)
            Natural logarithms of ``q(k|z)``.
        """
        rows = self._check_rows(X)
        if latent not in ("mean", "sample"):
            raise ValueError(f"latent must be 'mean' or 'sample', got {latent!r}.")
        generator = self._generator("witness", random_state) if latent == "sample" else None
        return self._inference.log_witness(rows, generator)

    def teacher_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Distributions that the teacher gives to rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the teacher sees them: of `X_teacher` where `fit` was given one.

        Returns
        -------
        T : ndarray of shape (n_samples, n_components)
            ``T(k|x)``, each row on the simplex.
        """
        check_is_fitted(self)
        if self.teacher_sees_ == "X":
            rows = self._check_rows(X)
            X = X if hasattr(X, "iloc") else rows
        return teacher_distributions(self.teacher_, X, _num_samples(X))

    def posterior(self, X: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Posterior of each row, a Gaussian with independent dimensions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        mean, log_variance : ndarrays of shape (n_samples, latent_dim)
            Means and natural-log variances of ``q(z|x)``, in float32.
        """
        return self._inference.posterior(self._check_rows(X))

    def posterior_kl(self, X: ArrayLike) -> NDArray[np.float32]:
        """Divergence of the posterior of each row from the prior, dimension by dimension.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        kl : ndarray of shape (n_samples, latent_dim)
            In nats, in float32; the mean over rows of its sum over dimensions is the rate.
        """
        return self._inference.posterior_kl(self._check_rows(X))

    def read_codes(
        self, X: ArrayLike, random_states: Sequence[int | None] = ()
    ) -> CodeReadings:
        """Read all that a certificate wants of the codes, in one pass of the encoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        random_states : sequence of int or None, default=()
            One for each draw of the codes, as in `witness_log_proba`.

        Returns
        -------
        readings : CodeReadings
            What `posterior`, `posterior_kl` and `witness_log_proba` return, to the bit.
        """
        rows = self._check_rows(X)
        generators = [self._generator("witness", state) for state in random_states]
        return self._inference.read(rows, generators)

    def _check_rows(self, X: Any) -> NDArray:
        check_is_fitted(self)
        with config_context(array_api_dispatch=False):
            rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if self.net_.module__likelihood == "bernoulli":
            check_unit_interval(rows)
        return rows

    @property
    def _inference(self) -> Inference:
        check_is_fitted(self)
        return Inference(self.net_, self._units, self._seed)

    def _generator(
        self, stream: str, random_state: int | np.random.RandomState | None
    ) -> torch.Generator:
        seed = self._seed if random_state is None else draw_seed(random_state)
        return torch_generator(seed, stream)

    @property
    def device_(self) -> str:
        return self.net_.device

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
