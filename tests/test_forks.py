"""A forked worker works after whatever its parent did with small data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import copy, os, pickle, sys, time, warnings
import numpy as np
import torch
from shared import READS, SETTINGS, rows_for
from skvae import ConstantCollapseCertificate, GaussianMixtureTeacher, TeacherGuidedVAE
from skvae import TeacherSearch, protocol, rescue
from skvae.model_selection import StackedGridSearchCV

warnings.simplefilter("ignore")
torch.set_num_threads(2)


def check(what):
    # A child in whose parent torch has split work over threads waits for them for ever.
    child = os.fork()
    if child == 0:
        torch.set_num_threads(2)
        torch.ones(2**18).add(1).sum()
        os._exit(0)
    for _ in range(2000):
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    os.kill(child, 9)
    sys.exit(f"A fork hangs after {what}.")


rng = np.random.default_rng(0)
few = np.repeat(4 * np.eye(3, 4), 60, axis=0) + rng.standard_normal((180, 4))
many = np.resize(few, (20_000, 4)).astype(np.float32)
small = {
    "latent_dim": 3,
    "teacher": GaussianMixtureTeacher(n_components=3),
    "max_epochs": 1,
    "early_stopping": False,
    "device": "cpu",
    "random_state": 0,
}
certificate = ConstantCollapseCertificate(probe=True)
LONG = ("default", "simplex witness")
for name in ("default", "conv", "own modules", "simplex witness", "mlp witness", "poisson",
             "early stopping"):
    setting = SETTINGS[name]
    # The default net is wide, and many rows are read by a narrow one.
    tables = [(few, (256, 256)), (many, (16,))] if name in LONG else [(few, (256, 256))]
    for rows, widths in tables:
        X = rows_for(setting, rows)
        vae = TeacherGuidedVAE(**{**small, "hidden_layer_sizes": widths, **setting}).fit(X)
        check(f"fit, {name}")
        for read in READS:
            READS[read](vae, X)
            check(f"{read}, {name}")
        vae.inverse_transform(vae.transform(X))
        vae.sample(5000)
        check(f"sample, {name}")
        certificate.certify(vae, X)
        check(f"certify, {name}")
        pickle.loads(pickle.dumps(copy.deepcopy(vae))).partial_fit(X)
        check(f"partial_fit, {name}")
        TeacherGuidedVAE(**{**small, **setting, "warm_start": vae, "teacher": None,
                            "hidden_layer_sizes": widths}).fit(X)
        check(f"warm start, {name}")
rescue(TeacherGuidedVAE(**small, alignment_weight=0).fit(few), few, reset_witness=True)
check("rescue")
StackedGridSearchCV(TeacherGuidedVAE(**small), {"alignment_weight": [2, 3]}, cv=2).fit(few)
check("a stacked search")
TeacherSearch({"n_components": [2, 3]}, random_state=0).fit(many).predict_proba(many)
check("a search for a teacher")
protocol.run(few, seeds=[0], epochs=1, device="cpu")
check("the protocol")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_public_method_leaves_what_a_forked_child_would_wait_for():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


FORKED_FIT = """
import multiprocessing, sys, warnings
import numpy as np
import torch
from skvae import TeacherGuidedVAE

warnings.simplefilter("ignore")
torch.set_num_threads(2)
X = np.random.default_rng(0).standard_normal((400, 6))


def margin(batch_size):
    vae = TeacherGuidedVAE(
        max_epochs=1, batch_size=batch_size, hidden_layer_sizes=(512, 512), random_state=0,
        device="cpu",
    )
    return vae.fit(X).margin_


if __name__ == "__main__":
    # Work enough for a second thread: what its parent did would make a child wait.
    torch.ones(2**20).add(1).sum()
    margin(200)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(margin, [200, 20]).get(timeout=300)
    assert np.isfinite(found).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_fits_whatever_its_parent_did(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FORKED_FIT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
