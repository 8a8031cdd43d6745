"""Ctrl-C at any moment: afterwards all is as before, or there is a model that can be used."""

import copy
import functools
import logging
import queue
import random
import sys
import threading
import warnings
import weakref
from concurrent.futures import thread

import numpy as np
import pytest
import sklearn
import torch
from shared import linear_decoder, linear_encoder
from threadpoolctl import threadpool_info
from tqdm import tqdm

from skvae import (
    ConstantCollapseCertificate,
    GaussianMixtureTeacher,
    TeacherGuidedVAE,
    TeacherSearch,
    protocol,
    rescue,
)
from skvae._common import threads
from skvae._common.ambient import undisturbed
from skvae.exceptions import InterruptedFitWarning, UncertifiedWarning
from skvae.model_selection import StackedGridSearchCV

MOMENTS = 40
# A trace comes between the last line of a `with` and its end, where no Ctrl-C does: a lock that
# is held there would be held for good, by all that is tested after.
HOLD_LOCKS = {
    module.__file__ for module in (functools, logging, queue, thread, threading, weakref)
}


def global_state():
    return {
        "threads": [(each["filepath"], each["num_threads"]) for each in threadpool_info()],
        "torch threads": torch.get_num_threads(),
        "lock of the threads": threads._process.lock._is_owned(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "modes": torch._C._len_torch_dispatch_stack(),
        "levels of vmap": torch._C._functorch.get_dynamic_layer_stack_depth(),
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": str(np.random.get_state()),
        "random": random.getstate(),
        "denormals": float(torch.tensor(1e-310, dtype=torch.float64) * 1) == 0.0,
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "scikit-learn": sklearn.get_config(),
        "lines that are rewritten": len(tqdm._instances),
    }


class Interruption:
    """Count the lines that a call runs in this thread, and press Ctrl-C at one of them."""

    def __init__(self, at=None, within=""):
        self.at = at
        self.within = within
        self.n_lines = 0

    def trace(self, frame, event, argument):
        if frame.f_code.co_filename in HOLD_LOCKS:
            return None
        if event == "line" and self.within in frame.f_code.co_filename:
            self.n_lines += 1
            if self.n_lines == self.at:
                raise KeyboardInterrupt
        return self.trace

    def call(self, function):
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            function()
        finally:
            sys.settrace(before)


def small(**parameters):
    return TeacherGuidedVAE(
        **{
            "latent_dim": 2,
            "hidden_layer_sizes": (8,),
            "teacher": GaussianMixtureTeacher(n_components=3),
            "max_epochs": 2,
            "device": "cpu",
            "random_state": 0,
            **parameters,
        }
    )


def fit_with_own_modules(vae, X):
    vae.set_params(encoder=linear_encoder, decoder=linear_decoder, early_stopping=True).fit(X)


CALLS = {
    "fit": lambda vae, X: vae.fit(X),
    "fit with modules of one's own": fit_with_own_modules,
    "fit that is told": lambda vae, X: small(verbose=1).fit(X),
    "partial_fit": lambda vae, X: vae.partial_fit(X),
    "transform": lambda vae, X: vae.transform(X),
    "score": lambda vae, X: vae.score(X),
    "certify": lambda vae, X: ConstantCollapseCertificate(probe=True).certify(vae, X),
    "rescue": lambda vae, X: rescue(vae, X, max_epochs=1),
    "search": lambda vae, X: TeacherSearch({"n_components": [2, 3]}, random_state=0).fit(X),
    "stacked search": lambda vae, X: StackedGridSearchCV(
        vae, {"alignment_weight": [2, 3]}, cv=2
    ).fit(X),
    "protocol": lambda vae, X: protocol.run(
        X,
        arms=["prevention"],
        seeds=[0],
        epochs=1,
        device="cpu",
        setting={"latent_dim": 2, "hidden_layer_sizes": [4]},
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_ctrl_c_at_any_line_leaves_all_as_it_was(clusters, name):
    call = CALLS[name]
    fitted = small().fit(clusters)
    codes = fitted.transform(clusters)
    # What is imported and cached on use is no part of the call.
    counted = Interruption()
    for _ in range(2):
        counted = Interruption()
        counted.call(lambda: call(copy.copy(fitted), clusters))
    drawn = np.random.default_rng(0)
    before = global_state()
    for at in drawn.integers(1, counted.n_lines, size=MOMENTS):
        vae = copy.copy(fitted)
        attributes = dict(vars(vae))
        raised = False
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", UncertifiedWarning)
            try:
                Interruption(at).call(lambda vae=vae: call(vae, clusters))
            # A protocol makes an error of an arm that was cut short.
            except (KeyboardInterrupt, InterruptedFitWarning):
                raised = True
        after = global_state()
        for key, value in before.items():
            assert after[key] == value, f"{key} after line {at} of {counted.n_lines}"
        interrupted = any(each.category is InterruptedFitWarning for each in caught)
        if raised and "modules" not in name:
            assert vars(vae) == attributes
        elif interrupted:
            assert np.isfinite(vae.transform(clusters)).all()
    np.testing.assert_array_equal(fitted.transform(clusters), codes)


def test_ctrl_c_as_torch_enters_or_leaves_vmap_is_raised_as_one():
    def call():
        with undisturbed():
            torch.vmap(torch.square)(torch.ones(2, 3))

    call()
    counted = Interruption(within="_functorch")
    counted.call(call)
    assert counted.n_lines > 20
    for at in range(1, counted.n_lines + 1):
        with pytest.raises(KeyboardInterrupt):
            Interruption(at, within="_functorch").call(call)
        assert torch._C._functorch.get_dynamic_layer_stack_depth() == 0, f"after line {at}"
