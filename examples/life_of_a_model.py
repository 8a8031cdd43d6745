"""From a fit that is killed to a model in another program: checkpoint, file, ONNX, search.

Run with ``python examples/life_of_a_model.py``; it takes half a minute, much of it the starts
of two further processes. The ONNX part wants the extra ``export``, and is left out without it.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, train_test_split
from skorch.callbacks import Callback

from skvae import ConstantCollapseCertificate, TeacherGuidedVAE
from skvae.datasets import digits
from skvae.model_selection import best_certified, elbo_scorer

SETTING = {"latent_dim": 8, "hidden_layer_sizes": (128,), "lr": 2e-3, "random_state": 0}


class Kill(Callback):
    """End the process in the middle of an epoch, as a machine that is taken away does."""

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 7:
            os.kill(os.getpid(), signal.SIGKILL)


def in_another_process(*arguments):
    done = subprocess.run([sys.executable, __file__, *arguments], check=False)
    return done.returncode


def train_and_be_killed(folder):
    X_train, _ = train_test_split(digits(), test_size=0.3, random_state=0)
    vae = TeacherGuidedVAE(
        max_epochs=30, checkpoint=f"{folder}/run.skvae", callbacks=[Kill()], **SETTING
    )
    vae.fit(X_train)


def use(folder):
    vae = TeacherGuidedVAE.load(f"{folder}/model.skvae")
    np.save(f"{folder}/codes.npy", vae.transform(np.load(f"{folder}/rows.npy")))


def main(folder):
    X_train, X_test = train_test_split(digits(), test_size=0.3, random_state=0)

    if hasattr(signal, "SIGKILL"):
        code = in_another_process("train", folder)
        print(f"The first fit was killed: its process ended with {code}.")
        assert code == -signal.SIGKILL
    # The same fit again: it goes on from the checkpoint.
    vae = TeacherGuidedVAE(max_epochs=30, checkpoint=f"{folder}/run.skvae", **SETTING)
    vae.fit(X_train)
    whole = TeacherGuidedVAE(max_epochs=30, **SETTING).fit(X_train)
    assert np.array_equal(vae.transform(X_test), whole.transform(X_test))
    print("It went on, and ended with the codes of a fit that was never killed, to the bit.")

    vae.save(f"{folder}/model.skvae")
    np.save(f"{folder}/rows.npy", X_test)
    assert in_another_process("use", folder) == 0
    codes = vae.transform(X_test)
    assert np.array_equal(np.load(f"{folder}/codes.npy"), codes)
    kilobytes = Path(folder, "model.skvae").stat().st_size / 1000
    print(f"A file of {kilobytes:.0f} kB gave the same codes in a process without the data.")

    with torch.no_grad():
        mean, _ = vae.encoder_(torch.from_numpy(X_test))
    print(f"torch module: codes differ by {np.abs(mean.numpy() - codes).max():.1g} at the most")
    assert np.abs(mean.numpy() - codes).max() < 1e-5
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        print("ONNX is left out: pip install 'skvae[export]'")
    else:
        import onnxruntime

        vae.export(f"{folder}/encoder.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/encoder.onnx")
        mean, _ = session.run(None, {"rows": X_test.astype(np.float32)})
        print(f"onnxruntime: codes differ by {np.abs(mean - codes).max():.1g} at the most")
        assert np.abs(mean - codes).max() < 1e-5

    search = GridSearchCV(
        TeacherGuidedVAE(max_epochs=20, **SETTING),
        {"alignment_weight": [0, 10]},
        scoring={"elbo": elbo_scorer, "bound": ConstantCollapseCertificate(confidence=0.95)},
        refit=best_certified(),
        cv=2,
    )
    search = pickle.loads(pickle.dumps(search.fit(X_train)))
    print(f"Best ELBO among what is certified: {search.best_params_}")
    # One model, one bound, on rows that the search has not seen.
    print(ConstantCollapseCertificate().certify(search.best_estimator_, X_test))


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train_and_be_killed(sys.argv[2])
    elif sys.argv[1:2] == ["use"]:
        use(sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as name:
            main(name)
