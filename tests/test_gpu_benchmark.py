"""The command that measures a GPU, run dry where there is none."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import gpu

    yield gpu
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


def test_a_dry_run_measures_all_that_there_is(gpu, tmp_path, capsys):
    gpu.main(["--device", "cpu", "--tiny", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["failures"] == []
    titles = [each["title"] for each in found["results"]]
    for name in ("digits", "patches", "synthetic"):
        for what in (f"fit, {name}", f"transform, {name}", f"certify, {name}"):
            n_wanted = 3 if what.startswith("fit") else 1
            assert sum(title.startswith(what) for title in titles) == n_wanted
    assert sum(title.startswith("search, digits") for title in titles) == 1
    fits = [each for each in found["results"] if "waits" in each]
    assert {"skvae", "loop by hand", "graph of the loop"} <= set(fits[0]["found"])
    assert capsys.readouterr().out == (tmp_path / "gpu.txt").read_text()


def test_without_time_all_is_left_out_and_named(gpu, tmp_path):
    gpu.main(["--device", "cpu", "--tiny", "--minutes", "0", "--out", str(tmp_path)])
    said = (tmp_path / "gpu.txt").read_text()
    assert "table digits: left out, no time" in said
    assert json.loads((tmp_path / "gpu.json").read_text())["results"] == []
