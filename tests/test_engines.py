"""Many fits over joblib's backends: Dask and Ray on this machine, and its own processes."""

import os
import signal
from functools import partial

import joblib
import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.model_selection import GridSearchCV, KFold

from skvae import ConstantCollapseCertificate, TeacherSearch, protocol
from skvae.model_selection import StackedGridSearchCV

# It comes with distributed.
psutil = pytest.importorskip("psutil")
# Fits of an epoch or a few, which say that they are not certified.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UncertifiedWarning")

CERTIFICATE = ConstantCollapseCertificate()
FOLDS = KFold(3, shuffle=True, random_state=0)
GRID = {"alignment_weight": [3.0, 10.0, 30.0]}
# Of the processes of the engines. Ray's would else give way to all others of a busy machine.
SETTING = {
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


@pytest.fixture(scope="module")
def _no_process_is_left():
    before = set(psutil.Process().children(recursive=True))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTING.items():
            patch.setenv(name, value)
        yield
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    left = set(psutil.Process().children(recursive=True)) - before
    # Of multiprocessing, which has one for the whole life of a process.
    left = [each for each in left if "resource_tracker" not in " ".join(each.cmdline())]
    assert psutil.wait_procs(left, timeout=10)[1] == []


@pytest.fixture(scope="module")
def dask_client(_no_process_is_left):
    """Return a client of two workers, one a device as the guide has them."""
    distributed = pytest.importorskip("distributed")
    here = {"host": "127.0.0.1"}
    workers = {
        number: {
            "cls": distributed.Nanny,
            "options": {**here, "nthreads": 1, "env": {"CUDA_VISIBLE_DEVICES": str(number)}},
        }
        for number in range(2)
    }
    scheduler = {"cls": distributed.Scheduler, "options": {**here, "dashboard": False}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def dask(dask_client):
    # One that another test has killed may still be starting, and with one alone joblib would
    # do all the work itself.
    dask_client.wait_for_workers(2)
    return partial(joblib.parallel_config, backend="dask")


@pytest.fixture(scope="module")
def ray(_no_process_is_left):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield partial(joblib.parallel_config, backend="ray", n_jobs=2)
    ray.shutdown()


@pytest.fixture(scope="module")
def rows(clusters):
    # In an order of their own: the first fold is no cluster.
    return np.random.default_rng(0).permutation(clusters)


def table_of(search):
    return {
        name: np.asarray(values, dtype=object).tolist()
        for name, values in search.cv_results_.items()
        if "time" not in name
    }


def runs_of(result):
    for run in result["runs"]:
        del run["seconds"]
        for epoch in run["history"]:
            del epoch["seconds"]
    return result["runs"]


def in_turn(small_vae, rows):
    """Search in all the ways there are, and return what was found."""
    stacked = StackedGridSearchCV(small_vae(), GRID, scoring=CERTIFICATE, cv=FOLDS).fit(rows)
    teachers = TeacherSearch({"n_components": [2, 3, 4]}, random_state=0).fit(rows)
    runs = protocol.run(rows, seeds=(0, 1), epochs=2, device="cpu", n_jobs=None)
    return {
        "stacked": table_of(stacked),
        "codes": stacked.transform(rows).tolist(),
        "teachers": teachers.results_,
        "probabilities": teachers.predict_proba(rows).tolist(),
        "runs": runs_of(runs),
    }


@pytest.fixture(scope="module")
def by_itself(small_vae, rows):
    """Return what one process finds."""
    grid = GridSearchCV(
        small_vae(), GRID, scoring=CERTIFICATE, cv=FOLDS, error_score="raise"
    ).fit(rows)
    return table_of(grid), in_turn(small_vae, rows)


def dying_once(folder):
    """Return a score, and in its first call the end of the process that it is called in."""
    flag, score = folder / "killed", CERTIFICATE.score

    def scorer(estimator, X, y=None):
        try:
            flag.touch(exist_ok=False)
        except FileExistsError:
            return score(estimator, X)
        os.kill(os.getpid(), signal.SIGKILL)

    return scorer


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_searches_find_to_the_bit_what_they_find_in_one_process(
    engine, request, small_vae, rows, by_itself
):
    with request.getfixturevalue(engine)():
        assert repr(in_turn(small_vae, rows)) == repr(by_itself[1])


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_search_ends_with_the_same_result_where_a_worker_is_killed(
    engine, request, small_vae, rows, by_itself, tmp_path
):
    # What Dask scatters by itself may lie on one worker alone, and is lost with it.
    options = {
        "dask": {"scatter": [rows]},
        "ray": {"ray_remote_args": {"max_restarts": 1, "max_task_retries": 1}},
    }
    search = GridSearchCV(small_vae(), GRID, scoring=dying_once(tmp_path), cv=FOLDS)
    with request.getfixturevalue(engine)(**options[engine]):
        search.fit(rows)
    assert (tmp_path / "killed").exists()
    assert repr(table_of(search)) == repr(by_itself[0])


def test_processes_of_joblib_end_a_search_where_one_is_killed(small_vae, rows, tmp_path):
    search = GridSearchCV(small_vae(), GRID, scoring=dying_once(tmp_path), cv=FOLDS)
    with joblib.parallel_config(backend="loky", n_jobs=2), pytest.raises(TerminatedWorkerError):
        search.fit(rows)
    assert not hasattr(search, "best_estimator_")


def test_each_worker_of_dask_has_a_device_of_its_own(dask, dask_client):
    seen = dask_client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(seen.values()) == ["0", "1"]


WIDE = np.random.default_rng(0).standard_normal((2_000, 100))


def bytes_sent():
    """Return how many bytes this process has sent over TCP since it was first asked."""
    from distributed.comm.tcp import TCP

    if not hasattr(TCP, "n_bytes_sent"):
        write, TCP.n_bytes_sent = TCP.write, 0

        async def counted(self, *args, **options):
            n_bytes = await write(self, *args, **options)
            TCP.n_bytes_sent += n_bytes
            return n_bytes

        TCP.write = counted
    return TCP.n_bytes_sent


def fits_of(name, small_vae):
    """Return a function of rows that makes a dozen fits and more, without one of all rows."""
    vae = small_vae(max_epochs=1)
    if name == "grid":
        grid = {"alignment_weight": [3.0, 10.0, 20.0, 30.0]}
        return GridSearchCV(vae, grid, scoring=CERTIFICATE, cv=FOLDS, refit=False).fit
    if name == "stacked":
        many = KFold(12, shuffle=True, random_state=0)
        one = {"alignment_weight": [10.0]}
        return StackedGridSearchCV(vae, one, scoring=CERTIFICATE, cv=many, refit=False).fit
    if name == "teachers":
        candidates = {"n_components": list(range(2, 14))}
        return TeacherSearch(candidates, max_rows=200, random_state=0).fit
    setting = {"hidden_layer_sizes": (8,)}
    return partial(
        protocol.run, seeds=range(4), epochs=1, setting=setting, device="cpu", n_jobs=None
    )


@pytest.mark.parametrize(
    ("name", "place"), [("grid", 0), ("stacked", 1), ("teachers", 2), ("protocol", 3)]
)
def test_dask_is_sent_the_rows_once_and_not_with_each_task(
    name, place, dask, dask_client, small_vae
):
    fit = fits_of(name, small_vae)
    # Rows that it has had before are not sent at all.
    rows = WIDE + place

    def all_bytes():
        return bytes_sent() + sum(dask_client.run(bytes_sent).values())

    before = all_bytes()
    with dask():
        fit(rows)
    n_bytes = all_bytes() - before
    # To the scheduler, from there to a worker, from there to the other; a protocol sends them
    # for its teachers, and once more for its runs. With each of a dozen tasks it were 24 times.
    assert rows.nbytes < n_bytes < 6 * rows.nbytes
