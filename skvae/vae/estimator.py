"""TeacherGuidedVAE: the estimator. It checks its input, builds a net and asks it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import _num_samples, check_is_fitted

from skvae._common.fit_callbacks import CallbackSupportMixin, fitting
from skvae._common.parameters import available_if, fit_context
from skvae._common.randomness import draw_seed, torch_generator
from skvae.information.design import Design
from skvae.nets.likelihoods import OF_COUNTS, WITH_VARIANCE
from skvae.rows.columns import Columns, EncodedRows
from skvae.rows.fingerprint import RowFingerprint
from skvae.rows.finite import require_finite
from skvae.rows.frames import is_frame
from skvae.rows.images import flatten_images
from skvae.rows.numbers import to_numpy
from skvae.rows.sources import RowsLike, as_rows
from skvae.rows.sparse import matrix_of
from skvae.rows.tables import check_rows
from skvae.rows.weights import weighted_mean
from skvae.teachers.fits import teacher_distributions, wants_frame
from skvae.training.distributed import shared
from skvae.training.net import VAENet
from skvae.training.ranks import Ranks
from skvae.training.tasks import with_tasks
from skvae.vae.advice import (
    margin_html,
    warn_if_uncertified,
    warn_if_unguarded,
    warn_of_interruption,
    warn_of_slow_precision,
    warn_of_weak_alignment,
)
from skvae.vae.course import Course, course_of_fit, train
from skvae.vae.decoding import log_likelihood
from skvae.vae.encoding import check_encoded, decoded, has_columns, kinds_of
from skvae.vae.files import SavedModel
from skvae.vae.fitted import Fitted
from skvae.vae.given import GivenRows, Weights
from skvae.vae.imputation import impute
from skvae.vae.inference import CodeReadings, Inference
from skvae.vae.modules import decoder_of, encoder_of, export, witness_of
from skvae.vae.ranks import rows_of_fit
from skvae.vae.settings import PARAMETER_CONSTRAINTS, check_count, check_support
from skvae.vae.stored import check_stored
from skvae.vae.tensors import check_codes, check_tensor, stays_tensor
from skvae.vae.training_settings import cloned, needs_no_number_of_steps, with_record
from skvae.vae.warm_start import resolve_donor

__all__ = ["TeacherGuidedVAE"]


class TeacherGuidedVAE(
    SavedModel,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Variational autoencoder whose latent code is held to a fixed teacher.

    Each row costs, in nats, summed over dimensions and averaged over rows::

        -E_q log p(x|z) + beta * KL(q(z|x) || p(z))
        + alignment_weight * KL(T(.|x) || q(.|z))

    (parameters from `kl_warmup` to `aggressive_steps` change the second term or add to it)
    where ``T`` is a fixed teacher and ``q(k|z)`` a witness: a softmax head that sees the
    code ``z`` and nothing else. A witness that at the posterior mean costs less than the
    teacher information is not constant over the rows, and so the mean is not:
    `ConstantCollapseCertificate` measures by how much. That is all it says; a certified
    code may still be a poor one in every other respect.

    Parameters
    ----------
    latent_dim : int, default=16
        Dimensions of the latent code, at most 65,536.
    hidden_layer_sizes : int or sequence of int, default=(256, 256)
        Widths of the encoder's hidden layers; the decoder has them in reverse. Empty
        makes both linear. Of the dense architecture.
    architecture : {"dense", "conv"}, default="dense"
        Of the encoder and the decoder that are not given. "conv" has residual blocks
        between strided convolutions, for images.
    image_shape : (channels, height, width) or None, default=None
        Says that the rows are images: X may then have four dimensions, and the columns of
        a channel share one centre and one scale. None takes it from an X of four
        dimensions where the architecture is "conv".
    channels : int or sequence of int, default=(16, 32)
        Of the conv architecture: widths of the stages of the encoder, each of which halves
        height and width; the decoder has them in reverse.
    encoder : nn.Module, callable or None, default=None
        A module of one's own, from standardised rows or images to means and log variances,
        ``2 * latent_dim`` columns or a tuple of both. An instance is copied in `fit`;
        a class or function is called as ``encoder(shape, latent_dim)``, where ``shape``
        is ``(n_features,)`` or `image_shape`.
    decoder : nn.Module, callable, "autoregressive" or None, default=None
        The same from codes to rows or images of what the likelihood wants of each column.
        "autoregressive" is a decoder of the architecture that also sees the columns before
        the one it speaks of, and can do without a code: `inverse_transform` then feeds its
        conditional means back, column after column.
    teacher : estimator with fit and predict_proba, or None, default=None
        Cloned and fitted on the training rows (a classifier on `y` too); one in a
        `sklearn.frozen.FrozenEstimator` is used as it is. None is
        `GaussianMixtureTeacher()`.
    alignment_weight : float, default=10.0
        Weight of the alignment, at least 0; 0 is the plain VAE. Where the decoder gains
        nothing from the code, collapse is optimal up to ``alignment_weight = beta``.
    alignment_target : float, None or "auto", default="auto"
        Share of the teacher information, in (0, 1), that is margin enough. A batch whose margin
        is at or above it, at the read trained on, trains the witness and leaves the code to
        the rest of the objective; one below it pulls at the code with `alignment_weight`.
        None pulls always. "auto" is 0.9; None with a simplex witness, whose margin is designed
        for a pull that does not end, and with batches of one row, which have no information.
        ``history_`` and ``valid_loss`` count the alignment all the same.
        No effect where `alignment_weight` is 0.
    beta : float, default=1.0
        Weight of the divergence from the prior, at least 0.
    kl_warmup : float, default=0.0
        Share of the training steps, in [0, 1], in which the KL weight rises in a line from 0
        to `beta`, or with `kl_capacity` the capacity from 0 to that. Each `fit` counts its own
        steps; `partial_fit` refuses it.
    kl_cycles : int, default=1
        Equal parts that the training is cut into; in each the weight rises anew, over the
        share `kl_warmup` of it, and then holds.
    free_bits : float, default=0.0
        Nats that each latent dimension has for free, at least 0: in place of the rate,
        ``sum_j max(free_bits, rate_j)`` with the batch means ``rate_j``.
    kl_capacity : float or None, default=None
        Nats, at least 0, that the rate is held to: in place of the rate,
        ``|rate - kl_capacity|`` of the batch mean.
    mmd_weight : float, default=0.0
        Weight, at least 0, of the squared maximum mean discrepancy between a batch of draws of
        the code and the prior, see `skvae.objective.mmd`. The InfoVAE with ``alpha`` and
        ``lambda`` has ``beta=1 - alpha`` and ``mmd_weight=alpha + lambda - 1``.
    tc_weight : float, default=0.0
        Weight, at least 0, of the total correlation of the code beyond the `beta` that it has
        as a part of the rate, see `skvae.objective.total_correlation`. Its estimate leans
        high in small batches.
    n_importance_samples : int, default=1
        Draws of the code for each row in training; more than one trains on the
        importance-weighted bound. The witness reads the first. `beta` must be 1.
    aggressive_steps : int, default=0
        Steps of the encoder alone before each step of all, on batches in an order of their
        own, from the first epoch to the first after which the mutual information of rows and
        codes has not risen. It is measured after each epoch on up to about 2000 held-out rows,
        or training rows where there are none.
    likelihood : str, tuple or mapping, default="gaussian"
        Decoder distribution: "gaussian", "laplace", "student_t", "bernoulli",
        "continuous_bernoulli", "poisson", "negative_binomial" or "categorical". "student_t"
        learns degrees of freedom for each column, and ``("student_t", degrees)`` has as many,
        above 2.
        "bernoulli" and "continuous_bernoulli" want X in [0, 1], the second as a density on it.
        "poisson" and "negative_binomial" want counts, decode log rates, and show the encoder
        ``log(1 + x)``; the second learns a dispersion a column, for counts that vary by more
        than their mean. "categorical" takes values of any type; one that `fit` did not meet is
        refused, unless ``("categorical", "unseen")`` asks for a level for such.
        A mapping gives columns likelihoods of their own. Its keys are names, positions, tuples
        of them, or functions of X such as `sklearn.compose.make_column_selector`.
        Columns that it does not name are chosen as by "auto": text and
        categories are categorical; truth values, and columns of nothing but 0 and 1 in the
        rows of `fit`, Bernoulli; other numbers Gaussian. So are the columns of arrays.
        `likelihood_` says what was chosen.
    size : "total", str, int or None, default="total"
        What the counts of a row are in proportion to, with a likelihood of counts: the row's
        total; a column, by its name or position, of positive exposures, which leaves the
        likelihood; or None, nothing. The rate of a column is what the code says times this
        size. The encoder, and a `GaussianMixtureTeacher` whose `size` is "auto", are shown the
        counts as a row of the typical size would have them, the median of the training rows:
        so how much was counted in a row is not what its code is about. All that is a density
        then is that of rows *given their sizes*; `inverse_transform` and `sample` make rows of
        the typical size. Counts among columns of other kinds
        have no size; a lone column of them has no total, and a row without a count one
        of 1; with ``missing="mask"`` totals are not known, and "total" is None.
    decoder_variance : float, "learned" or "shared", default="learned"
        Variance of the Gaussian, Laplace or Student decoder in the squared units of X, one for
        all columns that have such; "learned" learns one a column, "shared" one for all of a
        likelihood.
    missing : {"error", "mask"}, default="error"
        What becomes of missing entries of X: NaN, None and NA alike. "error" refuses them.
        "mask" leaves them out of the likelihood, standardises by the moments of the others, and
        shows the encoder zero in their place, the mean of a column that is standardised, and as
        many columns (of images, channels) more: 1 where there is an entry, 0 where there is
        none. An `encoder` of one's own is given both, and called with the shape of both. The
        bound is one on the density of the observed entries, and training is sound where they
        are missing at random: that one is may depend on what is observed, and not on its own
        value. A teacher that bears NaN by its tag ``input_tags.allow_nan``, or a pipeline
        that does up to its first imputer, is shown rows as they are; any other the means of
        the columns in place of what is missing. Each column needs an entry in the training
        rows; a row need not have any. Not for an autoregressive decoder.
    variance_floor : float or "auto", default="auto"
        What a learned variance stays above, as a share of the column's own variance, in (0, 1).
        "auto" is the variance of rounding to the steps of the column, ``gap**2 / 12`` with the
        least distance ``gap`` of two values in it, but 1e-6 at least and 0.2 at most; of a
        "shared" variance it is 1e-6. Ones and zeros, whole numbers and columns that hardly
        vary would else be learned with a variance of next to nothing, and rule the ELBO.
    witness_input : {"sample", "mean"}, default="sample"
        What the witness reads in training: a draw of the code, as the decoder does, or
        the posterior mean.
    witness : {"linear", "mlp", "simplex"}, default="mlp"
        "linear" is trained with the rest, and so is "mlp", which has a hidden layer of 64
        units: it asks less of the code for the same margin. "simplex" is fixed, on the
        vertices of a regular simplex in the first K - 1 dimensions of the code for a teacher
        with K components: a margin can be designed on the training rows before training,
        `designed_margin_`, which training need not reach. It
        wants ``latent_dim >= K - 1`` and a teacher without zeros.
    witness_scale : float, default=2.0
        Factor on the vertices of a simplex witness; positive. The larger, the smaller the
        codes that it reads and the less noise they bear.
    prefit_epochs : int, default=0
        Passes over the rows before the first epoch, in which the encoder is regressed on
        the codes that a simplex witness reads best, which overwrites the codes that
        another estimator lent. `warm_start=True` skips them once there is a model to continue.
    prefit_alpha : float or "design", default="design"
        Factor on these codes, positive. "design" is where alignment and divergence from
        the prior balance, see `skvae.information.design_alpha`.
    guard : float or None, default=None
        Margin to keep, in nats, at the read that the witness is trained on. A new training
        begins with a KL weight of 0. After each epoch, if its margin (on the held-out rows,
        if there are any) is below the guard, the weight is halved; if not, ``0.05 beta`` is
        handed back, up to `beta`, which takes 20 epochs. It stays as it is where the
        teacher information of these rows is not above the guard.
    batch_size : int or "auto", default="auto"
        Rows in a batch. "auto" is the greatest power of two that cuts the training rows into 8
        batches or more, from 16 to 128.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows. "auto" is as many as make ``4000 * sqrt(n / 1000)``
        steps on ``n`` training rows: 240 passes over 100, 250 over 1,000, 16 over a million.
    lr : float, default=1e-3
        Learning rate of the optimiser; what a likelihood learns of its columns, as their log
        variances, has ten times it.
    weight_decay : float, default=0.0
        Weight decay of the optimiser, on the weight matrices.
    optimizer : class, callable or None, default=None
        A `torch.optim.Optimizer` that steps without a closure, or a function that makes one,
        such as ``functools.partial(torch.optim.SGD, momentum=0.9)``: called with groups of
        weights and ``lr=...``, and with ``weight_decay=...`` where it takes that. None is
        AdamW, on flat memory. The prefit is by AdamW whatever this is.
    lr_schedule : {"one-cycle", "cosine"}, callable or None, default=None
        Factor on `lr` in each step, see `skvae.training.LRSchedule`: one cycle up and down,
        half a cosine down to 0, or a function of the share of the steps that have been taken,
        from [0, 1] to a factor of at least 0. It is laid out over `max_epochs`, each `fit`
        counting its own steps, those of the encoder alone not among them: where training is
        stopped before, it ends at the rate of that step. `partial_fit` refuses it. None leaves
        `lr` as it is.
    max_grad_norm : float or None, default=None
        Norm, positive, that the gradient of all weights together is scaled down to where it is
        longer, as `torch.nn.utils.clip_grad_norm_` does. None leaves it as it is.
    ema_decay : float, None or "auto", default="auto"
        What a step leaves of an exponential moving average of the weights, in (0, 1): the
        average is what held-out rows judge and what is kept. The last weights are those of one
        noisy step; the average reaches back some ``1 / (1 - ema_decay)``. "auto" is 0.996 where
        rows are held out, and else None: the weights as they are. Not of nets that normalise
        batches, nor in `partial_fit`.
    early_stopping : bool or "auto", default="auto"
        Hold out rows, stop when their loss no longer falls, keep the best weights. It is judged
        with an alignment that weighs no more than three times what the rate does: a strong pull
        would go on when the ELBO has long been falling. But weights whose held-out margin is
        over a tenth of the teacher information are better than any others, where an alignment
        is asked for. "auto" holds out where at least 75 rows, and half of all, are new to the
        model and its teacher. With a donor, or a teacher that came fitted, they are drawn among
        the rows that these have surely not seen, where such are enough. With a `guard` only
        epochs count whose held-out margin reaches it, once the KL weight has been handed back.
    validation_fraction : float, default=0.1
        Share of the rows held out, drawn at random, in (0, 1).
    n_iter_no_change : int or "auto", default="auto"
        Epochs without improvement before stopping. "auto" is as many as take 1,000 steps, and
        at least 5.
    tol : float, default=1e-4
        Least fall of what is judged, in nats, that is an improvement.
    warm_start : bool or fitted TeacherGuidedVAE, default=False
        True: `fit` continues with this estimator's own weights and teacher; not with the
        moments of its optimiser, which a model that is kept has no use for, so that five
        epochs and five more are not ten to the bit (calls of `partial_fit` keep them). A fitted
        estimator: start from its weights, and from its teacher where `teacher` is None;
        it is left untouched. Another teacher starts the witness anew. Wrap the donor in a
        `FrozenEstimator` where the estimator will be cloned.
    max_teacher_rows : int, default=100_000
        The teacher is fitted to no more training rows than these, drawn at random; all are
        taught.
    memory : str, path, joblib.Memory or None, default=None
        Where to keep fitted teachers, as in `sklearn.pipeline.Pipeline`: a grid search with
        an integer `random_state` then fits one teacher for each fold.
    checkpoint : str, path or None, default=None
        A file that the state of the training is written to as it goes. The same `fit` called
        again, in another process too, goes on from there and ends with the bits it would have
        had; of one that has ended it takes the result. It refuses a file of another fit that
        has not ended. In a folder, which must be there, each fit has a file of its own: the
        fits of a search. `partial_fit` keeps none. What `callbacks` keep for themselves is not
        in it, nor are modules of your own but for their `state_dict`.
    checkpoint_every : int or datetime.timedelta, default=1
        Epochs, or time, from one writing to the next.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto": CUDA where there is one, else the CPU.
    data_on_device : bool or "auto", default="auto"
        Whether an accelerator holds all training rows, standardised, and their teacher
        distributions. "auto": if they take at most half of its free memory when training
        begins. Otherwise they stay on the host (beyond 1 GiB where they are, read block by
        block), and CUDA copies each batch from pinned memory while it works on the one before.
        No effect on the CPU.
    distributed : bool or "auto", default="auto"
        Whether the processes that ``torchrun`` has started, or that have called
        ``torch.distributed.init_process_group``, share the fit: each calls `fit` with all rows,
        or with its part of them, and all end with one model. `batch_size` is that of all
        together, and steps are those of one process. "auto" is if there are such processes,
        and this is the main thread of one of them; True wants them. See docs/machines.rst.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Of the matrix products in training. "bf16" is faster in large steps where the processor
        has such products, at the price of digits; "fp16" is for GPUs that lack them: its
        gradients are scaled, and a step that overflows is left out. Weights, loss terms, and
        all that a fitted model is asked, stay in float32. "auto" is "bf16" where a batch
        forward is at least 2**25 multiply-adds (of a dense net its rows times its weights: 128
        rows of more than 230 columns with the default net) on a CPU with AVX-512 and products
        in bfloat16, or 2**32 on a GPU that has them, "fp32" elsewhere and with modules of your
        own. It is chosen when a fit, or a call of `partial_fit`, begins: `precision_`.
    compile : bool or str, default=False
        Compile the steps of training with `torch.compile`, which takes a compiler for C++ on
        the CPU, and at the start of a fit the time of some dozen epochs on a small table. A
        string is the mode of `torch.compile`: "reduce-overhead" captures CUDA graphs. A
        short last batch is filled with rows that the epoch began with. torch compiles eight
        different nets in a process and trains further ones as they are.
    callbacks : list or None, default=None
        Callbacks of skorch, instances or classes, or pairs of a name and one. All events come:
        `on_train_begin` and `on_train_end`, `on_epoch_begin` and `on_epoch_end`, and, of each
        batch where a callback overrides the method, `on_batch_begin`, `on_batch_end` and, in
        training, `on_grad_computed` with all gradients in ``.grad``, as long as they are before
        `max_grad_norm`. A step that is written by hand tells them too, and one whose callbacks
        only watch has the bits that it has without. Hooks on modules or weights, which are set
        in `on_train_begin`, make all steps go by autograd. `fit` uses the callbacks that it is
        given, as skorch and scikit-learn do, so that they can be read afterwards: what they
        find is in their attributes that end in ``_``. `net_` drops them after it. `clone`
        clones those that can be; others, such as one with an open writer, are shared. A pickle
        has those that can be pickled. An error in one leaves the estimator as it was before
        `fit`. Callbacks of scikit-learn go to `set_callbacks`.
    random_state : int, RandomState instance or None, default=None
        Drives all that is random; no global random state is read or changed. The same
        integer gives the same result to the bit on one machine's CPU. Training that
        continues keeps the seed that it began with.
    verbose : int or bool, default=0
        0 is silent; 1 a line on stderr that is rewritten, with the time left, ELBO and margin,
        those of held-out rows where there are any; 2 a table on stdout, a line an epoch. Both
        also through the logger "skvae". Worker processes rewrite no line.

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
        prior), ``alignment``, ``margin``, ``beta`` (the weight in force in the last step, less
        than `beta` where a guard holds it back or a warm-up raises it; ``loss`` is at this
        weight), ``seconds``; where they are in force ``floored_rate`` (`free_bits`),
        ``capacity_gap`` (`kl_capacity`), ``importance_bound`` (`n_importance_samples`),
        ``mmd``, ``total_correlation`` and, as long as training is aggressive,
        ``mutual_information``; ``lr`` in force in the last step with an `lr_schedule`, and of a
        `skvae.training.CertificateCallback` what it records; with early stopping the same of
        the held-out rows as ``valid_*``, and, where neither a donor nor the teacher has seen
        them, ``valid_lower_bound``: at 0.95 the margin of the population is above it, for each
        epoch by itself, at the read trained on, with the weights of rows taken for given.
        ``valid_loss`` is at `beta` and `kl_capacity` whatever is in force. `partial_fit` keeps
        the last 1,000 passes.
    design_ : Design
        The posterior that the simplex witness was designed for, computed before training.
        With ``witness="simplex"`` and a positive `alignment_weight` only, not where
        `alignment_target`, `free_bits`, `kl_capacity`, `mmd_weight`, `tc_weight` or
        `n_importance_samples` change what the rate costs or the alignment is worth, and no
        more once `partial_fit` continues with other weights or another scale.
    designed_margin_ : float
        Margin of that posterior on the training rows (evenly spaced ones of very many), in
        nats, at the read trained on; at a sample a lower bound on it. Training may end below
        it, and new rows may have less: `design_.proved_margin` is what every model has there
        whose alignment and rate cost no more than the design's. Where `design_` is.
    encoder_ : nn.Module
        From rows in the units of X, or images, to the means and log variances of their codes,
        on the device of the estimator. This and the next two are copies, new at each access:
        keep the one that you train further. What they are given in float64 they answer in
        float64, anything else in float32.
    decoder_ : nn.Module
        From codes to rows in the units of X, as `inverse_transform`.
    witness_ : nn.Module
        From codes to the log probabilities of the witness.
    net_ : VAENet
        The trained skorch net, for who knows skorch. Its ``module_`` wants *standardised*
        rows, flat and in float32, and returns standardised ones; of raw rows it makes
        wrong codes without a word. `encoder_` and `decoder_` have the units inside.
    likelihood_ : dict
        Name of the likelihood of each column, by its name, or its position in an array.
    columns_ : Columns or None
        Where the columns are of several kinds, or categorical, what makes numbers of them:
        ``columns_.encode(X)`` is what `encoder_` takes, and ``columns_.decode(rows)`` makes a
        table of what `decoder_` gives. None where all are numbers of one kind.
    device_ : str
        The device it is on.
    n_iter_ : int
        Epochs trained.
    fingerprint_ : RowFingerprint
        Hashes that tell the rows of `fit`, and those of the models it started from, from
        others; no data.
    teacher_fingerprint_ : RowFingerprint or None
        The same of the rows that the teacher was fitted to; None where that is not known, as of
        a teacher that came fitted and has no `fingerprint_` of its own.
    image_shape_ : tuple of int or None
        ``(channels, height, width)`` of the rows; None where they are no images.
    precision_ : {"fp32", "bf16", "fp16"}
        Of the matrix products in training.
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
    With the Gaussian, the Laplace and the Student likelihood the columns are standardised
    inside, and the encoder sees no further than ten standard deviations; the ELBO,
    `decoder_variance`, `inverse_transform` and `sample` are in the units of X all the same.

    With likelihoods of several kinds ``p(x|z)`` is a mixed density: of what is continuous a
    density in the units of X, of what is counted or chosen a probability. Their logarithms add
    up in the ELBO, in nats, and change by a constant with the units of X. The teacher sees
    the table as numbers, categories as a one among zeros, unless it is a
    pipeline, or has the tags of what takes text: it then sees X as it came. Tensors with
    categorical columns are read as arrays, and codes in tensors decoded to encoded rows.

    Where scikit-learn has callbacks (from 1.9 on), those of `set_callbacks` are told of the fit
    and of each epoch, with a fitted estimator as it is then; one that returns True ends
    training. Under a search they are those of the search.

    Images go in as rows or as an array of shape (n_samples, channels, height, width),
    wherever rows do. `inverse_transform` and `sample` return rows.

    Under ``sklearn.config_context(array_api_dispatch=True)`` the methods that read rows or
    codes answer a tensor with a tensor, on its device and with its gradients; all but
    `teacher_proba`. `fit` takes tensors, and fitted attributes are NumPy's, in any case.

    References
    ----------
    arXiv 2605.05813 (teacher, witness, boundary); arXiv 2605.18224 (simplex witness,
    prefit); Kingma and Welling, arXiv 1312.6114
    (variational autoencoder); Higgins et al., ICLR 2017 (beta); Bowman et al., CoNLL 2016
    (`kl_warmup`); Fu et al., arXiv 1903.10145 (`kl_cycles`); Kingma et al., arXiv 1606.04934
    (`free_bits`); Burgess et al., arXiv 1804.03599 (`kl_capacity`); Zhao, Song and Ermon, arXiv
    1706.02262 (`mmd_weight`); Chen et al., arXiv 1802.04942 (`tc_weight`); Burda, Grosse and
    Salakhutdinov, arXiv 1509.00519 (`n_importance_samples`); He et al., arXiv 1901.05534
    (`aggressive_steps`); Smith and Topin, arXiv 1708.07120 (one cycle), Loshchilov and Hutter,
    arXiv 1608.03983 (cosine) and Pascanu, Mikolov and Bengio, arXiv 1211.5063
    (`max_grad_norm`); Loaiza-Ganem and Cunningham, arXiv 1907.06845 (the continuous
    Bernoulli); Rybkin, Daniilidis and Levine, arXiv 2006.13202 (a learned shared variance);
    Mattei and Frellsen, arXiv 1812.02633, and Nazabal et al., arXiv 1807.03653 (`missing`).
    Lopez et al., Nature Methods 15, 2018 (negative binomial columns, with sizes).

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

    _parameter_constraints: ClassVar[dict] = PARAMETER_CONSTRAINTS
    # What is taken by keyword alone, see `skvae.vae.given.Weights`.
    __metadata_request__fit: ClassVar[dict] = {"sample_weight": None}
    __metadata_request__partial_fit: ClassVar[dict] = {"sample_weight": None}

    _file_kind: ClassVar[str] = "model"

    # Set by `adopt`.
    _fitted: Fitted
    net_: VAENet
    teacher_: Any
    teacher_sees_: str
    teacher_information_: float
    average_teacher_: NDArray[np.float64]
    margin_: float
    history_: list[dict[str, float]]
    n_iter_: int
    fingerprint_: RowFingerprint
    teacher_fingerprint_: RowFingerprint | None
    image_shape_: tuple[int, int, int] | None
    precision_: str
    n_features_in_: int
    feature_names_in_: NDArray
    columns_: Columns | None
    design_: Design
    designed_margin_: float

    def __init__(
        self,
        *,
        latent_dim: int = 16,
        hidden_layer_sizes: int | Sequence[int] = (256, 256),
        architecture: str = "dense",
        image_shape: Sequence[int] | None = None,
        channels: int | Sequence[int] = (16, 32),
        encoder: Callable[..., Any] | None = None,
        decoder: Callable[..., Any] | str | None = None,
        teacher: Any = None,
        alignment_weight: float = 10.0,
        alignment_target: float | str | None = "auto",
        beta: float = 1.0,
        kl_warmup: float = 0.0,
        kl_cycles: int = 1,
        free_bits: float = 0.0,
        kl_capacity: float | None = None,
        mmd_weight: float = 0.0,
        tc_weight: float = 0.0,
        n_importance_samples: int = 1,
        aggressive_steps: int = 0,
        likelihood: str | tuple[str, Any] | Mapping[Any, Any] = "gaussian",
        size: str | int | None = "total",
        decoder_variance: float | str = "learned",
        missing: str = "error",
        variance_floor: float | str = "auto",
        witness_input: str = "sample",
        witness: str = "mlp",
        witness_scale: float = 2.0,
        prefit_epochs: int = 0,
        prefit_alpha: float | str = "design",
        guard: float | None = None,
        batch_size: int | str = "auto",
        max_epochs: int | str = "auto",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer: Callable[..., Any] | None = None,
        lr_schedule: str | Callable[[float], float] | None = None,
        max_grad_norm: float | None = None,
        ema_decay: float | str | None = "auto",
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int | str = "auto",
        tol: float = 1e-4,
        warm_start: bool | BaseEstimator = False,
        max_teacher_rows: int = 100_000,
        memory: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | datetime.timedelta = 1,
        device: str = "auto",
        data_on_device: bool | str = "auto",
        distributed: bool | str = "auto",
        precision: str = "auto",
        compile: bool | str = False,
        callbacks: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.architecture = architecture
        self.image_shape = image_shape
        self.channels = channels
        self.encoder = encoder
        self.decoder = decoder
        self.teacher = teacher
        self.alignment_weight = alignment_weight
        self.alignment_target = alignment_target
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.kl_cycles = kl_cycles
        self.free_bits = free_bits
        self.kl_capacity = kl_capacity
        self.mmd_weight = mmd_weight
        self.tc_weight = tc_weight
        self.n_importance_samples = n_importance_samples
        self.aggressive_steps = aggressive_steps
        self.likelihood = likelihood
        self.size = size
        self.decoder_variance = decoder_variance
        self.missing = missing
        self.variance_floor = variance_floor
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
        self.ema_decay = ema_decay
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.max_grad_norm = max_grad_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.max_teacher_rows = max_teacher_rows
        self.memory = memory
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.device = device
        self.data_on_device = data_on_device
        self.distributed = distributed
        self.precision = precision
        self.compile = compile
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: RowsLike, y: Any = None, X_teacher: Any = None, **weights: Unpack[Weights]
    ) -> TeacherGuidedVAE:
        """Fit the teacher, then train the autoencoder and its witness.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, at least two, finite (but for what is `missing`), in any units. With
            an image shape also (n_samples, channels, height, width). Here, and in all methods
            that take rows, also a tensor or a data set, see `skvae.rows.as_rows`, and sparse
            rows, which are made dense a batch at a time; with ``missing="mask"`` dense rows.
        y : array-like of shape (n_samples,) or None, default=None
            Passed to the teacher's `fit`: labels where it is a classifier.
        X_teacher : array-like of n_samples rows, or None, default=None
            Another view of the same rows (an augmentation, another modality, extracted
            features), for the teacher to see in place of X; no data set.
        **weights : array-like of shape (n_samples,), as ``sample_weight``
            Weights of the rows, finite, at least 0 and not all 0; only their ratios count, and
            None or weights that are all alike are no weights. A row of weight 2 counts as two
            in every average; one of weight 0 is left out, to the bit. A teacher whose `fit`
            takes no weights is fitted to rows drawn in proportion to them. By keyword alone:
            to scikit-learn a signature with `sample_weight` promises the digits of a fit to
            rows repeated, which random batches and noise cannot keep.

        Returns
        -------
        self : TeacherGuidedVAE
            The fitted estimator. When an error is raised it is as it was before.

        Raises
        ------
        ValueError
            For rows or parameters that cannot be trained on, such as modules whose results
            have the wrong shape.
        ConstantTeacherError
            If the teacher says the same of every row.
        DivergenceError
            If a term of the loss stops being finite; names the epoch and the term.
        DeviceMemoryError
            If the device has no memory for a batch; names a batch size to try.
        LostRankError
            If another process that shares the fit has failed, died or does not answer.

        Warns
        -----
        UncertifiedWarning
            If alignment was asked for and is not certified: the lower bound on the margin of
            the held-out rows is not positive with the weights that were kept, or, where none
            were held out that are surely new, `margin_` is not; or if no epoch reached the
            guard. It says what to do.
        WeakAlignmentWarning
            If ``0 < alignment_weight <= beta`` and there is no guard.
        SlowPrecisionWarning
            If the CPU has no products in the `precision` asked for.
        SeenRowsWarning
            If early stopping has to decide by rows that were trained on.
        InterruptedFitWarning
            After Ctrl-C, or SIGTERM in the main thread, in an epoch; what was trained so far is
            kept.
        """
        warn_of_weak_alignment(self)
        warn_of_slow_precision(self)
        n_epochs = None if isinstance(self.max_epochs, str) else self.max_epochs
        with fitting(self, X, y, n_epochs), shared(self.distributed, self.device) as ranks:
            resume = self._resumes()
            first = len(self.history_) if resume else 0
            given, how = (X, y, X_teacher, weights), (resume, False, ranks)
            self._adopt(train(self._course(*given, *how)))
            warn_of_interruption(self)
            warn_if_unguarded(self, first)
            warn_if_uncertified(self)
        return self

    @available_if(needs_no_number_of_steps)
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self, X: RowsLike, y: Any = None, X_teacher: Any = None, **weights: Unpack[Weights]
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
        **weights : array-like of shape (n_samples,), as ``sample_weight``
            As in `fit`: only the ratios between the rows of this call count.

        Returns
        -------
        self : TeacherGuidedVAE
            The estimator. When an error is raised it is as it was before.

        Raises
        ------
        ValueError, ConstantTeacherError, DivergenceError
            As in `fit`.
        AttributeError
            With `kl_warmup` or `lr_schedule`: the number of steps to come is not known.
        """
        resume = self.__sklearn_is_fitted__()
        if not resume:
            warn_of_weak_alignment(self)
            warn_of_slow_precision(self)
        with fitting(self, X, y, 1), shared(self.distributed, self.device) as ranks:
            given, how = (X, y, X_teacher, weights), (resume, True, ranks)
            self._adopt(train(self._course(*given, *how)))
            warn_of_interruption(self)
        return self

    def _resumes(self) -> bool:
        continues = isinstance(self.warm_start, (bool, np.bool_)) and bool(self.warm_start)
        return continues and self.__sklearn_is_fitted__()

    def _course(
        self,
        X: Any,
        y: Any,
        X_teacher: Any,
        weights: Weights,
        resume: bool = False,
        one_pass: bool = False,
        ranks: Ranks | None = None,
    ) -> Course:
        """Check the rows, and return the course of a fit to them, of which nothing is done.

        Whoever takes it to its end hands what it returns to `_adopt`.
        """
        if ranks is not None:
            X, y, X_teacher, weights = rows_of_fit(ranks, X, y, X_teacher, weights)
        donor = self if resume else resolve_donor(self.warm_start, TeacherGuidedVAE)
        callbacks = with_tasks(self, X, y)
        n_least = 1 if resume and one_pass else 2
        given = GivenRows.of(self, X, y, X_teacher, weights, donor, not resume, n_least)
        return course_of_fit(
            {**self.get_params(deep=False), "callbacks": callbacks},
            given,
            donor=None if donor is None else donor._fitted,
            resume=resume,
            one_pass=one_pass,
            as_model=partial(with_record, self),
            ranks=ranks,
        )

    def _adopt(self, fitted: Fitted) -> None:
        """Become the model that a fit found: here alone fitted attributes are set."""
        for name in ("feature_names_in_", "design_", "designed_margin_"):
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted.attributes, _fitted=fitted)

    def transform(self, X: RowsLike) -> NDArray[np.float32]:
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

    def inverse_transform(self, X: ArrayLike) -> Any:
        """Decode codes: the decoder's means, in the units of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, latent_dim)
            Codes.

        Returns
        -------
        rows : ndarray or frame of shape (n_samples, n_features)
            Means of ``p(x|z)``. A frame where `likelihood` looked at the columns of one, in its
            library or that of `set_output`: numbers are means, as floats, and of categories and
            truth values it has the likeliest.
        """
        rows = self._inference.decode(check_codes(X, self._n_features_out))
        return decoded(self, rows, means=True)

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Any:
        """Draw new rows from the model: a code from the prior, then a row from the decoder.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            None draws the same rows at every call on one fitted estimator.

        Returns
        -------
        rows : ndarray or frame of shape (n_samples, n_features)
            Draws, the decoder's noise included, in the units of X. For means without that
            noise decode codes of your own: ``inverse_transform(codes)``. A frame where
            `inverse_transform` returns one, and here with the types of all its columns: those
            of whole numbers are rounded.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        rows = self._inference.draw(n_samples, self._generator("draws", random_state))
        return decoded(self, rows, means=False)

    def score_samples(
        self, X: RowsLike, n_importance_samples: int | None = None
    ) -> NDArray[np.float32]:
        """Evidence lower bound of each row at beta = 1, whatever beta it was trained with.

        With ``missing="mask"`` it bounds the log density of the observed entries of a row: rows
        with more of them have more to be told. A row without any scores minus its rate, which
        is at most 0.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        n_importance_samples : int or None, default=None
            None and 1 give the ELBO. More is the importance-weighted bound from so many draws
            of the noise, the same for every row: the more, the closer it is to ``log p(x)``
            in expectation.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            ``E_q log p(x|z) - KL(q(z|x) || p(z))`` in nats, a lower bound on ``log p(x)``
            in the units of X, in float32; of a mixed density where `likelihood_` names several
            kinds. The expectation is an average over 16 draws of
            the noise, the same for every row, in antithetic pairs and of unit variance in
            each dimension. With ``n_importance_samples=k`` above 1
            ``log mean_k p(x|z_k) p(z_k) / q(z_k|x)`` in its place.

        References
        ----------
        Burda, Grosse and Salakhutdinov, arXiv 1509.00519.
        """
        if n_importance_samples is not None:
            check_count("n_importance_samples", n_importance_samples)
        rows = self._check_rows(X)
        if n_importance_samples is None or n_importance_samples == 1:
            return self._inference.elbo(rows)
        return self._inference.importance_bound(rows, n_importance_samples)

    def log_likelihood(self, X: ArrayLike, codes: ArrayLike) -> NDArray[np.float64]:
        """Log density that the decoder gives to rows at codes, one for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        codes : array-like of shape (n_samples, latent_dim)
            A code for each row: its own, or another row's, to see what the decoder makes of it.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            ``log p(x|z)`` in nats, in the units of X, of the observed entries.
        """
        return log_likelihood(self._inference, self._check_rows(X), codes)

    def score(
        self, X: RowsLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Mean of `score_samples`: the ELBO at beta = 1, in nats a row.

        Of its observed entries, with ``missing="mask"``: compare models on the same rows, with
        the same entries missing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : None, default=None
            Ignored; there for consistency with scikit-learn.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in the mean, at least 0 and not all 0; None weighs all alike.

        Returns
        -------
        elbo : float
            Higher is better.
        """
        return weighted_mean(to_numpy(self.score_samples(X)), sample_weight)

    def witness_log_proba(
        self,
        X: RowsLike,
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

    def teacher_proba(self, X: RowsLike) -> NDArray[np.float64]:
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
            rows = self._check_shape(X)
            has_missing = self._inference.has_missing
            require_finite(rows, type(self).__name__, allow_nan=has_missing)
            has_kinds = self.columns_ is not None
            is_named = is_frame(X) and rows is matrix_of(rows)
            as_given = wants_frame(self.teacher_) if has_kinds else is_named
            X = X if as_given else matrix_of(rows)
            # Whether they are finite was looked at just now, and reconstructions, which have
            # a teacher's distribution too, may be no counts.
            with config_context(assume_finite=True):
                return teacher_distributions(self._fitted.asked, X, len(rows))
        X = as_rows(X)
        return teacher_distributions(self.teacher_, X, _num_samples(X))

    def posterior(self, X: RowsLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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

    def posterior_kl(self, X: RowsLike) -> NDArray[np.float32]:
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

    def read_codes(self, X: RowsLike, random_states: Sequence[int | None] = ()) -> CodeReadings:
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

    def _check_rows(self, X: Any) -> Any:
        """Return rows to be read; that all are finite is seen to as they are read."""
        check_is_fitted(self)
        if isinstance(X, EncodedRows):
            return X.rows
        if (stored := check_stored(self, X)) is not None:
            return stored
        are_numbers = self.columns_ is None or self.columns_.is_numeric
        is_tensor = stays_tensor(X) and are_numbers
        rows = check_tensor(self, X) if is_tensor else self._check_shape(X)
        likelihood = self.net_.module__likelihood
        if likelihood not in WITH_VARIANCE:
            has_missing = self._inference.has_missing
            require_finite(to_numpy(rows), type(self).__name__, allow_nan=has_missing)
            counts = self.net_.module__counts
            check_support(likelihood, to_numpy(rows), counts and counts.size, self.columns_)
        return rows

    def _check_shape(self, X: Any) -> Any:
        check_is_fitted(self)
        with config_context(array_api_dispatch=False):
            X = flatten_images(as_rows(X), self.image_shape_)
            if self.columns_ is not None:
                allow_nan = self._inference.has_missing
                return check_encoded(self, X, self.columns_, reset=False, allow_nan=allow_nan)
            return check_rows(
                self,
                X,
                dtype=[np.float64, np.float32],
                accept_sparse=False if self._inference.has_missing else "csr",
                ensure_all_finite=False,
                reset=False,
            )

    @property
    def _inference(self) -> Inference:
        check_is_fitted(self)
        fitted = self._fitted
        return Inference(fitted.net, fitted.units, fitted.seed, type(self).__name__)

    @property
    def _n_features_out(self) -> int:
        return self._fitted.net.module__latent_dim

    def _generator(
        self, stream: str, random_state: int | np.random.RandomState | None
    ) -> torch.Generator:
        seed = self._fitted.seed if random_state is None else draw_seed(random_state)
        return torch_generator(seed, stream)

    @property
    def can_read_in_threads(self) -> bool:
        """Whether several threads may call `read_codes` at a time, which a net may not bear."""
        return self._inference.is_thread_safe

    export = export
    impute = impute
    encoder_ = property(encoder_of)
    decoder_ = property(decoder_of)
    witness_ = property(witness_of)
    likelihood_ = property(kinds_of)

    @property
    def device_(self) -> str:
        """Device that the fitted model is on, as "cpu" or "cuda:0"."""
        return str(self.net_.device)

    __sklearn_clone__ = cloned

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _html_repr(self):
        # What a notebook shows: the diagram of scikit-learn, and the margin.
        return f"{super()._html_repr()}{margin_html(self)}"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.allow_nan = self.missing == "mask"
        has_kinds = has_columns(self.likelihood)
        tags.input_tags.sparse = self.missing != "mask" and not has_kinds
        tags.input_tags.positive_only = self.likelihood in OF_COUNTS
        tags.input_tags.string = tags.input_tags.categorical = has_kinds
        return tags
