"""What is drawn, printed and logged while something takes its time."""

import contextlib
import io
import logging
import pickle
import sys
import threading

import pytest
import tqdm
from sklearn.utils.parallel import Parallel, delayed

from skvae._common.progress import CountedParallel, Progress, say, write_line


def take(verbose, n_steps=3, **options):
    with Progress(verbose, n_steps, "Working", "step", **options) as progress:
        for number in range(n_steps):
            progress.advance(lambda number=number: f"found {number}")


def frames(text):
    """Return what a rewritten line was, one after the other."""
    return [frame for frame in text.replace("\n", "\r").split("\r") if frame.strip()]


def test_nothing_is_drawn_printed_or_logged_at_zero(capfd, caplog):
    caplog.set_level(logging.INFO)
    for silence in (0, False):
        with Progress(silence, 2, "Working", "step") as progress:
            progress.advance(lambda: pytest.fail("words were made for nobody"))
        say("Nothing.", silence)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@pytest.mark.parametrize("verbose", [1, True])
def test_one_line_is_rewritten_on_stderr(capfd, verbose):
    take(verbose)
    told = capfd.readouterr()
    assert told.out == ""
    # One line: all but the last frame are overwritten.
    assert told.err.count("\n") == 1
    assert told.err.endswith("\n")
    first, *_, last = frames(told.err)
    assert "0/3" in first
    assert last.startswith("Working: 100%")
    assert "3/3" in last
    assert last.endswith("found 2]")


def test_the_line_goes_to_the_stderr_of_the_moment():
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        take(1)
    assert "3/3" in text.getvalue()


def test_a_line_a_step_is_printed_at_two(capfd):
    take(2)
    take(3, n_steps=1)
    take(2, prints=False)
    told = capfd.readouterr()
    assert told.err == ""
    assert told.out.splitlines() == [
        "Working, step 1 of 3: found 0",
        "Working, step 2 of 3: found 1",
        "Working, step 3 of 3: found 2",
        "Working, step 1 of 1: found 0",
    ]


@pytest.mark.parametrize("verbose", [1, 2])
def test_steps_are_records_of_the_logger(capfd, caplog, verbose):
    with caplog.at_level(logging.INFO, "skvae"):
        take(verbose)
        say("It is done.", verbose)
    assert [(each.name, each.levelname) for each in caplog.records] == [("skvae", "INFO")] * 4
    assert [each.getMessage() for each in caplog.records] == [
        "Working, step 1 of 3: found 0",
        "Working, step 2 of 3: found 1",
        "Working, step 3 of 3: found 2",
        "It is done.",
    ]


def test_the_logger_shows_nothing_by_itself():
    logger = logging.getLogger("skvae")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET


def test_a_handler_that_writes_to_the_terminal_does_not_garble_the_line(caplog):
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("skvae")
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stderr(text), caplog.at_level(logging.INFO, "skvae"):
            take(1)
    finally:
        logger.removeHandler(handler)
    # Each message stands at the start of a line that was cleared.
    for number in (1, 2, 3):
        message = f"Working, step {number} of 3: found {number - 1}"
        assert f"\r{message}\n" in text.getvalue()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_line_is_closed_after_an_error(capfd, error):
    progress = Progress(1, 3, "Working", "step")

    def fail():
        with progress:
            progress.advance()
            raise error

    with pytest.raises(error):
        fail()
    assert progress._bar is None
    assert not tqdm.tqdm._instances
    last = capfd.readouterr().err
    assert last.endswith("\n")
    assert "1/3" in frames(last)[-1]


def test_a_line_that_waits_for_the_first_step_is_not_drawn_before(capfd):
    with Progress(1, 3, "Working", "step", at_once=False):
        pass
    assert capfd.readouterr().err == ""


def test_steps_that_were_done_before_are_counted_and_take_no_time(capfd):
    with Progress(1, 5, "Working", "step") as progress:
        progress.begin_at(3)
        assert progress._bar.initial == 3
        progress.advance()
        progress.advance()
    assert "5/5" in frames(capfd.readouterr().err)[-1]


def test_an_inner_line_goes_when_it_is_done_and_the_outer_one_stays(capfd):
    with Progress(1, 2, "Outer", "step") as outer:
        for _ in range(2):
            with Progress(1, 2, "Inner", "step") as inner:
                inner.advance()
                inner.advance()
            outer.advance()
    text = capfd.readouterr().err
    assert frames(text)[-1].startswith("Outer: 100%")
    # The cursor is taken down to the inner line as often as it is taken up again.
    assert text.count("\n") - 1 == text.count("\x1b[A")


def test_a_printed_line_stands_above_the_one_that_is_rewritten():
    text = io.StringIO()
    with (
        contextlib.redirect_stderr(text),
        contextlib.redirect_stdout(text),
        Progress(1, 2, "Working", "step") as progress,
    ):
        write_line("A line.")
        progress.advance()
    assert "\rA line.\n" in text.getvalue()
    assert "\n\rWorking" in text.getvalue()


class Pieces(io.StringIO):
    """Keeps what was written piece by piece."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def write(self, text):
        self.pieces.append(text)
        return super().write(text)


def test_threads_write_whole_lines(monkeypatch):
    out, err = Pieces(), Pieces()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    barrier = threading.Barrier(4)

    def work(verbose):
        barrier.wait()
        take(verbose, n_steps=50)

    threads = [threading.Thread(target=work, args=(verbose,)) for verbose in (1, 1, 2, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not tqdm.tqdm._instances
    expected = [f"Working, step {n} of 50: found {n - 1}" for n in range(1, 51)]
    assert sorted(out.getvalue().splitlines()) == sorted(2 * expected)
    drawn = [piece for piece in err.pieces if "Working" in piece]
    assert all(piece.startswith("\rWorking") and piece.count("Working") == 1 for piece in drawn)


def take_elsewhere(verbose):
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        take(verbose)
    return text.getvalue()


def test_a_worker_process_rewrites_no_line():
    one, two = Parallel(n_jobs=2)(delayed(take_elsewhere)(1) for _ in range(2))
    assert one == two == ""
    assert take_elsewhere(1) != ""


def test_a_line_does_not_get_into_a_pickle(capfd):
    with Progress(1, 3, "Working", "step") as progress:
        progress.advance()
        twin = pickle.loads(pickle.dumps(progress))
        assert twin._bar is None
        assert twin.n_done == 1
        assert progress._bar is not None


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_tasks_are_counted_as_they_are_done(n_jobs, backend, capfd):
    with Progress(2, 6, "Raising", "number") as progress:
        parallel = CountedParallel(progress, n_jobs=n_jobs, backend=backend)
        assert parallel(delayed(pow)(base, 2) for base in range(6)) == [0, 1, 4, 9, 16, 25]
    lines = capfd.readouterr().out.splitlines()
    all_lines = [f"Raising, number {number} of 6" for number in range(1, 7)]
    if n_jobs == 1:
        assert lines == all_lines
    # Several that end at once, or that joblib sends together, are told of in one line.
    assert lines == [line for line in all_lines if line in lines]
    assert lines[-1] == all_lines[-1]


def test_tasks_that_joblib_counts_late_are_counted(monkeypatch, capfd):
    counted = CountedParallel.print_progress
    monkeypatch.setattr(CountedParallel, "print_progress", lambda self: None)
    with Progress(2, 3, "Raising", "number") as progress:
        parallel = CountedParallel(progress)
        parallel(delayed(pow)(base, 2) for base in range(3))
        counted(parallel)
    assert capfd.readouterr().out == "Raising, number 3 of 3\n"


def test_no_stderr_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    take(1)
