"""Pictures, as Display objects of scikit-learn's kind; matplotlib is imported on use."""

from skvae.displays.arm_comparison import ArmComparisonDisplay
from skvae.displays.margin_history import MarginHistoryDisplay

__all__ = [
    "ArmComparisonDisplay",
    "MarginHistoryDisplay",
]
