"""Pictures, as Display objects of scikit-learn's kind; matplotlib is imported on use."""

from skvae.displays.comparison import ArmComparisonDisplay, RateBoundDisplay
from skvae.displays.decoded import ImageGridDisplay, QuantileDisplay
from skvae.displays.history import LossHistoryDisplay, MarginHistoryDisplay
from skvae.displays.latent import LatentCodeDisplay, LatentRateDisplay
from skvae.displays.paths import MarginEnergyDisplay, StreamDisplay
from skvae.displays.reports import CertificateDisplay, ReportDisplay
from skvae.displays.traversal import TraversalDisplay
from skvae.displays.witness import TeacherWitnessDisplay, WitnessCalibrationDisplay

__all__ = [
    "ArmComparisonDisplay",
    "CertificateDisplay",
    "ImageGridDisplay",
    "LatentCodeDisplay",
    "LatentRateDisplay",
    "LossHistoryDisplay",
    "MarginEnergyDisplay",
    "MarginHistoryDisplay",
    "QuantileDisplay",
    "RateBoundDisplay",
    "ReportDisplay",
    "StreamDisplay",
    "TeacherWitnessDisplay",
    "TraversalDisplay",
    "WitnessCalibrationDisplay",
]
