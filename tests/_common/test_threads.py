"""How many threads work runs on, and who waits for whom."""

import threading
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from skvae._common import threads
from skvae._common.threads import (
    n_threads,
    one_thread_if,
    side_by_side,
    surely,
    threads_of_caller,
)

# Seconds after which calls that should run at a time are taken not to.
PATIENCE = 60


@pytest.fixture(autouse=True)
def _three_threads(set_threads):
    set_threads(3)
    yield
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("n_workers", [-1, 0, 1, 2, 5])
def test_results_are_those_of_their_calls(n_workers):
    with side_by_side(n_workers) as call:
        results = [call(divmod, number, 7) for number in range(50)]
        assert [result() for result in results] == [divmod(number, 7) for number in range(50)]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_results_may_be_asked_for_when_all_is_done(n_workers):
    with side_by_side(n_workers) as call:
        # As the block ends most of them have not begun.
        results = [call(time.sleep, 0.05) for _ in range(6)]
        last = call(divmod, 9, 7)
    assert last() == (1, 2)
    assert [result() for result in results] == [None] * 6


def test_workers_work_at_a_time_each_on_one_thread():
    barrier = threading.Barrier(2)

    def meet():
        barrier.wait(PATIENCE)
        return threading.get_ident(), n_threads()

    with side_by_side(2) as call:
        results = [call(meet) for _ in range(2)]
        (one, one_count), (other, other_count) = (result() for result in results)
        assert n_threads() == 1
    assert one != other
    assert threading.get_ident() not in (one, other)
    assert one_count == other_count == 1


def test_one_worker_is_the_caller_when_it_asks():
    called = []

    def note():
        called.append((threading.get_ident(), n_threads()))

    with side_by_side(1) as call:
        result = call(note)
        assert called == []
        result()
    assert called == [(threading.get_ident(), 3)]


def test_an_error_is_raised_where_the_result_is_asked_for_and_ends_the_rest():
    begun = []
    workers = set()

    def work(number):
        begun.append(number)
        workers.add(threading.current_thread())
        if number == 1:
            raise ValueError("the second call failed")
        time.sleep(0.1)

    def all_work():
        with side_by_side(2) as call:
            for result in [call(work, number) for number in range(1000)]:
                result()

    with pytest.raises(ValueError, match="the second call failed"):
        all_work()
    # Each takes a tenth of a second: a minute passes before they have all begun.
    assert len(begun) < 1000
    assert not any(worker.is_alive() for worker in workers)


def test_one_thread_holds_for_the_caller_alone():
    with one_thread_if(True):
        assert n_threads() == 1
        with one_thread_if(False):
            assert n_threads() == 1
    with one_thread_if(False):
        assert n_threads() == 3


def test_overlapping_stays_leave_every_blas_as_it_was():
    def blas():
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    entered, other_entered, left, done = (threading.Event() for _ in range(4))
    seen = {}

    def first():
        with one_thread_if(True):
            entered.set()
            assert other_entered.wait(PATIENCE)
        left.set()
        # It lives on, as a thread of a pool does.
        assert done.wait(PATIENCE)

    def second():
        assert entered.wait(PATIENCE)
        with one_thread_if(True):
            other_entered.set()
            assert left.wait(PATIENCE)
            seen["inside"] = blas()

    before = blas()
    threads = [threading.Thread(target=each) for each in (first, second)]
    for each in threads:
        each.start()
    threads[1].join()
    seen["after"] = blas()
    done.set()
    threads[0].join()
    assert set(seen["inside"]) == {1}
    assert seen["after"] == blas() == before


def test_surely_takes_every_step_however_often_it_is_interrupted():
    taken = []
    interrupts = iter([True, True, False, True, False])

    def step():
        if next(interrupts):
            raise KeyboardInterrupt
        taken.append(len(taken))

    with pytest.raises(KeyboardInterrupt):
        surely(step, step)
    assert taken == [0, 1]


def test_a_lock_that_an_interrupt_left_held_is_given_back():
    restore = threads_of_caller()
    # As a Ctrl-C on the way out of a `with` leaves it.
    threads._process.lock.acquire()
    restore()

    def work():
        with one_thread_if(True):
            pass

    other = threading.Thread(target=work, daemon=True)
    other.start()
    other.join(timeout=PATIENCE)
    assert not other.is_alive()
