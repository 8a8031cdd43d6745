"""Fits and readings that ranks share are those of one process, and end together."""

import atexit
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from shared import meeting_of

import skvae
from skvae import TeacherGuidedVAE
from skvae.exceptions import LostRankError
from skvae.training import launched, over_ranks, rows_of_all_ranks
from skvae.training.distributed import shared
from skvae.training.ranks import Share

HERE = Path(__file__).parent
SCRIPT = HERE / "ranks_at_work.py"
# What all ranks take together here is some twenty seconds.
SECONDS = 150

sys.path.insert(0, str(HERE))
import ranks_at_work as work  # noqa: E402


def environment(**variables):
    paths = [str(Path(skvae.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return {**os.environ, **own, **variables}


def ended(processes):
    """Wait for processes, and leave none behind."""
    try:
        return [(each.communicate(timeout=SECONDS)[0], each.returncode) for each in processes]
    finally:
        for each in processes:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
                each.wait()


def started(command, **variables):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # So that all that it starts can be ended with it.
        process_group=0,
    )


def kept_by(folder, session, n_ranks):
    return [
        torch.load(folder / f"{session}_{r}.pt", weights_only=False) for r in range(n_ranks)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(folder):
    """Return what two ranks found that torchrun has started."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ((said, code),) = ended([started([*launcher, SCRIPT, folder, "first"])])
    assert code == 0, said
    return kept_by(folder, "first", 2)


@pytest.fixture(scope="module")
def three(two, folder):
    """Return what three ranks found, started one by one; the last one kills itself."""
    common = {**meeting_of(3), "TORCHELASTIC_RUN_ID": "test"}
    ranks = [started([SCRIPT, folder, "second"], RANK=str(r), **common) for r in range(3)]
    outcomes = ended(ranks)
    assert [code for _, code in outcomes] == [0, 0, -signal.SIGKILL], outcomes
    return kept_by(folder, "second", 2)


@pytest.fixture(scope="module")
def alone():
    """Return what one process finds."""
    X = work.table()
    with warnings.catch_warnings():
        # Twenty steps are too few to certify by.
        warnings.simplefilter("ignore")
        return {name: work.found(work.fitted(name, X)) for name in work.SETTINGS}


@pytest.mark.parametrize("name", work.SETTINGS)
def test_two_ranks_take_the_steps_of_one_process(two, alone, name):
    assert np.allclose(two[0][name], alone[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["default", "all rows", "floor"])
def test_three_ranks_take_the_steps_of_one_process(three, alone, name):
    assert np.allclose(three[0][name], alone[name], rtol=1e-5, atol=1e-5)


def test_all_ranks_end_with_the_same_bits(two, three):
    for name in work.SETTINGS:
        assert two[0][name].tobytes() == two[1][name].tobytes()
    for name in ("default", "all rows", "floor", "resumed"):
        assert three[0][name].tobytes() == three[1][name].tobytes()


def test_parts_of_the_rows_make_the_model_of_all(two):
    assert two[0]["shards"].tobytes() == two[0]["default"].tobytes()


def test_passes_of_a_stream_are_shared(two):
    X = work.table()
    once = work.estimator(max_epochs=1).partial_fit(X).partial_fit(X)
    assert np.allclose(two[1]["passes"], work.found(once), rtol=1e-5, atol=1e-5)


def test_rows_are_read_by_all_in_their_order(two):
    X = np.concatenate([work.table()] * 12)
    for kept in two:
        for name in ("codes", "scores"):
            assert kept[name].tobytes() == kept[f"{name} alone"].tobytes()
        assert kept["report"] == kept["alone"]
        assert np.array_equal(kept["joined"], X)
        assert kept["parts"].startswith("Inside of over_ranks all ranks read the same rows")
        assert kept["merged"] == pytest.approx(kept["merged alone"], rel=1e-12)


def test_what_cannot_be_shared_is_refused_by_name(two):
    of_batch, too_small, drawing, differing = two[0]["refusals"]
    assert two[1]["refusals"] == two[0]["refusals"]
    assert of_batch.startswith("mmd_weight=1.0 cannot be shared by 2 ranks")
    assert too_small.startswith("batch_size=1 is the rows of a step of all ranks together")
    assert drawing.startswith("Sequential has a layer that drops out")
    assert differing.startswith("lr is 0.001 on rank 0 and 0.002 on rank 1")


def test_calls_that_differ_are_refused_on_all_ranks(two):
    alone, differing, models = two[0]["unlike"]
    assert two[1]["unlike"] == two[0]["unlike"]
    assert alone.startswith("Rank 0 is at Inference.encode, and rank 1 at the end: between")
    assert "Rank 0 is at Inference.encode, and rank 1 at Inference.posterior_kl" in differing
    assert models.startswith("Inside of over_ranks all ranks read by one model, and these")


def test_what_is_no_part_of_the_table_of_others_is_refused(two):
    told = two[0]["misfits"]
    assert two[1]["misfits"] == told
    differ = "X of rank 0 and of rank 1 have to fit below each other, and differ in "
    assert told["columns"].startswith(differ + "columns: (4,) and (3,)")
    assert told["kind"].startswith(differ + "kind: a frame of pandas and an array")
    assert "['a', 'b', 'c', 'd', 'kind'] and ['e', 'b', 'c', 'd', 'kind']" in told["names"]
    assert told["types"].startswith("Column 'kind' is String on rank 0, and Int64 on rank 1")
    assert "rows are theirs too" in told["split"]


def test_a_rank_may_have_no_rows_at_all(two):
    assert two[1]["without rows"].tobytes() == two[0]["columns"].tobytes()


def test_all_ranks_may_save_to_one_path(two, folder):
    assert two[1]["saved"].tobytes() == two[0]["default"].tobytes()
    assert not list(folder.glob(".*.part"))


def test_a_rank_that_waits_for_another_says_so_and_hears_of_its_end(monkeypatch, caplog):
    store = torch.distributed.HashStore()

    def waiting():
        monkeypatch.setattr(launched, "OF_WORK", timedelta(seconds=0.2))
        with pytest.raises(LostRankError, match="Rank 0 of 2 waits for rank 1 to call the"):
            launched.meet(store, 0, 2)

    monkeypatch.setattr(launched, "QUIET", 0.0)
    with caplog.at_level("WARNING", logger="skvae"):
        waiting()
    assert caplog.text.count("For a fit of its own pass distributed=False") == 1
    # Whoever gave up has not come: both meet at their next call, however many that was.
    waiting()
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(launched.meet, store, rank, 2) for rank in (0, 1)]
        assert [each.result(timeout=60) for each in both] == [0, 0]
    launched.tell_end(store, 1)
    with pytest.raises(LostRankError, match="Rank 1 has ended"):
        launched.meet(store, 0, 2)


def test_a_rank_hears_that_nobody_keeps_the_list_of_those_who_come():
    class Gone:
        def add(self, key, number):
            raise RuntimeError("Broken pipe\nsomewhere in C++")

    try:
        with pytest.raises(LostRankError, match=r"Rank 1 of 2 .* has ended. \(Broken pipe\)"):
            launched.meet(Gone(), 1, 2)
    finally:
        atexit.unregister(launched.tell_end)


def test_others_are_told_why_a_rank_failed_and_can_go_on(two):
    (seconds, told), (_, own) = (kept["failure"] for kept in two)
    assert own == "OSError: the disk is full"
    assert told.startswith("LostRankError: Rank 0 of 2")
    assert "rank 1 failed with OSError: the disk is full" in told
    assert seconds < 60
    assert two[0]["after it"].tobytes() == two[0]["default"].tobytes()


def test_one_rank_ends_training_for_all(two):
    assert [kept["stopped"] for kept in two] == [2, 2]


def test_a_rank_that_dies_ends_the_others(three):
    for kept in three:
        seconds, told = kept["death"]
        assert "rank 2 has died, or does not answer" in told
        assert seconds < 60


def test_another_number_of_ranks_goes_on_from_a_checkpoint(two, three, alone):
    assert two[0]["interrupted"]
    assert np.allclose(three[0]["resumed"], alone["default"], rtol=1e-5, atol=1e-5)


def test_a_process_that_nobody_has_started_with_others_is_alone(monkeypatch):
    with shared("auto") as ranks, over_ranks() as rank:
        assert (ranks, rank, rows_of_all_ranks("anything")) == (None, 0, "anything")
    with pytest.raises(ValueError, match="distributed=True wants a process that torchrun"):
        TeacherGuidedVAE(distributed=True).fit(work.table())
    # torchrun with one process has nothing to share.
    one = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}
    for name, value in {**one, "TORCHELASTIC_RUN_ID": "1"}.items():
        monkeypatch.setenv(name, value)
    with shared(True) as ranks:
        assert ranks is None


def test_a_rank_without_rows_of_a_short_batch_counts_nothing():
    values = torch.ones(1, 2)
    share = Share(n_rows=1, start=0, stop=0)
    assert (share.rows, share.weight) == (slice(0, 1), 0.0)
    assert share.placed(values).tolist() == [[0.0, 0.0]]
    assert Share(3, 1, 2).placed(values).tolist() == [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
