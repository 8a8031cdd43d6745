"""What the arms of the protocol promise, and which of it a set of runs breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["broken_promises"]

# What the arms promise on held-out rows.
COLLAPSED_RATE = 0.01
PREVENTION_SHARE = 0.5
RESCUE_TOLERANCE = 0.1


def broken_promises(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Say where the pattern of prevention, collapse, rescue and baselines does not hold.

    Parameters
    ----------
    runs : sequence of dict
        The records of `run`.

    Returns
    -------
    broken : list of str
        One sentence for each promise that a run breaks; empty if the pattern holds. A
        baseline that is certified by its own witness, at either read, is such a finding:
        without alignment that witness is constant.

    Examples
    --------
    An epoch is too few for prevention:

    >>> from sklearn.datasets import load_iris
    >>> from skvae import protocol
    >>> found = protocol.run(load_iris().data, arms=["prevention"], seeds=[0], epochs=1)
    >>> len(protocol.broken_promises(found["runs"])) > 0
    True
    """
    broken = []
    margins = ("margin_mean", "margin_sample")
    reports = {(run["arm"], run["seed"], run["teacher"]): run["report"] for run in runs}
    unaligned = {run["arm"] for run in runs if run["parameters"].get("alignment_weight") == 0}
    several = any(teacher for _, _, teacher in reports)
    for (arm, seed, teacher), report in reports.items():
        where = f"{arm}, seed {seed}" + (f", teacher {teacher}" if several else "")

        def expect(holds: bool, promise: str, found: float, where=where) -> None:
            if not holds:
                broken.append(f"{where}: expected {promise}, got {found:.4f}")

        if arm == "collapse":
            rate, active = report["rate"], report["active_units"]
            expect(rate < COLLAPSED_RATE, f"rate < {COLLAPSED_RATE}", rate)
            expect(active == 0, "no active unit", active)
            for name in margins:
                expect(report[name] <= 0, f"{name} <= 0", report[name])
            expect(not report["certified"], "no certificate", report["lower_bound_sample"])
        elif arm == "prevention":
            expect(report["certified"], "a bound above 0", report["lower_bound_sample"])
            least = PREVENTION_SHARE * report["teacher_information"]
            for name in margins:
                expect(report[name] > least, f"{name} > I_T / 2 = {least:.4f}", report[name])
        elif arm == "rescue":
            expect(report["certified"], "a bound above 0", report["lower_bound_sample"])
            prevented = reports.get(("prevention", seed, teacher), report)
            for name in margins:
                aim = prevented[name]
                near = abs(report[name] - aim) <= RESCUE_TOLERANCE * abs(aim)
                expect(near, f"{name} within 10% of prevention's {aim:.4f}", report[name])
        elif arm in unaligned:
            for read in ("mean", "sample"):
                bound = report[f"lower_bound_{read}"]
                if bound > 0:
                    broken.append(
                        f"{where}: a finding, this baseline is certified by its own witness "
                        f"at the {read} read, with a bound of {bound:.4f}"
                    )
    return broken
