"""Files for other programs: the same codes from arrays, torch, its programs and ONNX."""

import doctest
import importlib.util
import logging
import os
import random
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from shared import SETTINGS, rows_for
from sklearn.exceptions import NotFittedError
from torch import nn

import skvae
from skvae import TeacherGuidedVAE
from skvae.vae import export

pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

# Each way to the three modules once: what is exported, and the setting that makes it.
WAYS = [
    ("encoder", "default", "float32"),
    ("encoder", "conv", "float32"),
    ("encoder", "own modules", "float32"),
    ("encoder", "poisson", "float32"),
    ("decoder", "conv", "float32"),
    ("decoder", "laplace", "float64"),
    ("decoder", "autoregressive", "float32"),
    ("decoder", "continuous bernoulli", "float32"),
    ("witness", "mlp witness", "float32"),
    ("witness", "simplex witness", "float32"),
]


@pytest.fixture(scope="module")
def model(small_vae, clusters):
    """Return a fitted estimator of a setting, and its rows."""
    made = {}

    def fit(name):
        if name not in made:
            X = rows_for(SETTINGS[name], clusters)
            made[name] = small_vae(max_epochs=2, **{**SETTINGS[name]}).fit(X), X
        return made[name]

    return fit


def outputs_of(path, given):
    """Run a file in the program that it is for."""
    if path.suffix == ".pt2":
        made = torch.export.load(path).module()(torch.from_numpy(given))
        made = made if isinstance(made, tuple) else (made,)
        return [each.detach().numpy() for each in made]
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: given})


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
@pytest.mark.parametrize(("what", "setting", "dtype"), WAYS)
def test_every_program_gives_what_arrays_give(model, tmp_path, what, setting, dtype, suffix):
    vae, X = model(setting)
    codes = vae.transform(X)
    path = tmp_path / f"a{suffix}"
    vae.export(path, what, dtype=dtype)
    for n_rows in (1, 2, 1000):
        given = np.resize(
            X if what == "encoder" else codes, (n_rows, 4 if what == "encoder" else 3)
        )
        wanted = {
            "encoder": lambda rows: vae.posterior(rows),
            "decoder": lambda rows: (vae.inverse_transform(rows),),
            "witness": lambda rows: (np.resize(vae.witness_log_proba(X), (len(rows), 3)),),
        }[what](given)
        found = outputs_of(path, given.astype(dtype))
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == dtype
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert os.listdir(tmp_path) == [path.name]


def test_columns_of_several_kinds_with_gaps_run_in_onnx(small_vae, tmp_path):
    frame = pd.DataFrame(
        {
            "age": [31.0, 58.0, np.nan, 40.0] * 10,
            "town": ["Ulm", None, "Bonn", "Ulm"] * 10,
            "visits": pd.array([None, 2, 5, 1] * 10, dtype="Int64"),
            "well": pd.array([True, False, None, True] * 10, dtype="boolean"),
        }
    )
    vae = small_vae(likelihood={"visits": "poisson"}, missing="mask", max_epochs=2).fit(frame)
    vae.save(tmp_path / "vae.skvae")
    loaded = TeacherGuidedVAE.load(tmp_path / "vae.skvae")
    pd.testing.assert_frame_equal(loaded.impute(frame), vae.impute(frame))
    encoded = vae.columns_.encode(frame).astype(np.float32)
    loaded.export(tmp_path / "encoder.onnx")
    mean, _ = outputs_of(tmp_path / "encoder.onnx", encoded)
    np.testing.assert_allclose(mean, vae.transform(frame), atol=1e-5)


def test_float64_keeps_columns_far_from_zero(small_vae, clusters, tmp_path):
    X = clusters + np.array([1e8, 0, 0, 0])
    vae = small_vae(max_epochs=2).fit(X)
    for suffix in (".pt2", ".onnx"):
        path = tmp_path / f"a{suffix}"
        vae.export(path, dtype="float64")
        np.testing.assert_allclose(outputs_of(path, X)[0], vae.transform(X), atol=1e-5)


def test_names_and_sizes_are_told_by_the_file_and_nothing_of_this_machine(model, tmp_path):
    vae, _ = model("default")
    vae.export(tmp_path / "a.onnx")
    vae.export(tmp_path / "a.pt2")
    graph = onnx.load(tmp_path / "a.onnx").graph
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)
    shapes = [
        (each.name, [dim.dim_param or dim.dim_value for dim in each.type.tensor_type.shape.dim])
        for each in (*graph.input, *graph.output)
    ]
    assert shapes == [
        ("rows", ["batch", 4]),
        ("mean", ["batch", 3]),
        ("log_variance", ["batch", 3]),
    ]
    here = os.path.dirname(skvae.__file__).encode()
    assert here not in (tmp_path / "a.onnx").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        assert not any(here in archive.read(name) for name in archive.namelist())


def test_a_program_runs_where_skvae_is_not(model, tmp_path):
    vae, X = model("default")
    vae.export(tmp_path / "a.pt2")
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    code = (
        "import sys, numpy, torch; sys.modules['skvae'] = None; "
        "rows = torch.from_numpy(numpy.load('X.npy')); "
        "codes = torch.export.load('a.pt2').module()(rows)[0]; "
        "numpy.save('codes.npy', codes.detach())"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npy"), vae.transform(X), atol=1e-5)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_nothing_is_said_and_nothing_outside_changes(model, tmp_path, capfd, suffix):
    vae, X = model("default")

    def states():
        return (
            random.getstate(),
            str(np.random.get_state()),
            torch.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            [*warnings.filters],
            [logging.getLogger(name).level for name in export.TALKATIVE],
            vae.transform(X).tolist(),
        )

    before = states()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside = [*warnings.filters]
        vae.export(tmp_path / f"a{suffix}")
        assert warnings.filters == inside
    with torch.no_grad():
        vae.export(tmp_path / f"b{suffix}")
        assert not torch.is_grad_enabled()
    assert states() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("a.pt", {}, ValueError, r'must end in "\.onnx" or "\.pt2", got '),
        ("a.onnx", {"what": "teacher"}, ValueError, "what must be one of .* got 'teacher'"),
        ("a.onnx", {"dtype": "float16"}, ValueError, "dtype must be one of .* got 'float16'"),
        ("nowhere/a.onnx", {}, FileNotFoundError, "nowhere is no folder"),
    ],
)
def test_what_cannot_be_exported_is_told_at_once(
    model, tmp_path, monkeypatch, path, options, error, message
):
    vae, _ = model("default")
    monkeypatch.setattr(torch.export, "export", None)
    with pytest.raises(error, match=message):
        vae.export(tmp_path / path, **options)
    assert list(tmp_path.iterdir()) == []


def test_examples_of_the_documentation_hold():
    page = Path(__file__).parents[2] / "docs" / "deploying.rst"
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0


def test_before_fit_there_is_nothing_to_export(tmp_path):
    with pytest.raises(NotFittedError):
        TeacherGuidedVAE().export(tmp_path / "a.pt2")


def test_onnx_without_its_packages_says_what_to_install(model, tmp_path, monkeypatch):
    vae, _ = model("default")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    with pytest.raises(ImportError, match=r"onnxscript, .* pip install 'skvae\[export\]'"):
        vae.export(tmp_path / "a.onnx")
    vae.export(tmp_path / "a.pt2")
    assert os.listdir(tmp_path) == ["a.pt2"]


def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    vae, _ = model("default")
    (tmp_path / "a.pt2").write_text("before")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"a\.pt2 could not be written"):
        vae.export(tmp_path / "a.pt2")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


class OfSomeRows(nn.Module):
    def __init__(self, shape, latent_dim):
        super().__init__()
        self.layer = nn.Linear(shape[0], 2 * latent_dim)

    def forward(self, x):
        return self.layer(x) if float(x.sum()) >= 0 else self.layer(2 * x)


def test_a_module_of_ones_own_that_is_no_graph_is_refused(small_vae, clusters, tmp_path):
    vae = small_vae(encoder=OfSomeRows, max_epochs=1).fit(clusters)
    for suffix in (".pt2", ".onnx"):
        with pytest.raises(ValueError, match="must not turn the number of rows"):
            vae.export(tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []
    vae.export(tmp_path / "a.pt2", "decoder")


def test_an_autoregressive_decoder_of_many_columns_is_refused(
    small_vae, digit_images, tmp_path
):
    vae = small_vae(decoder="autoregressive", max_epochs=1, alignment_weight=0.0)
    vae.fit(digit_images[:100])
    with pytest.raises(ValueError, match=r"decoder of 64 columns .* at most 32: use decoder_"):
        vae.export(tmp_path / "a.pt2", "decoder")
    assert list(tmp_path.iterdir()) == []
