"""Reports as texts in files: the form of JSON that other programs read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skvae._common.whole_files import write_text

__all__ = ["JSON_VERSION", "json_text", "written"]

# Of the form that `report.schema.json`, beside this file, describes.
JSON_VERSION = 1


def json_text(report: Mapping[str, Any]) -> str:
    """Return the fields of a report, and of the one by probe in it, as JSON."""
    return json.dumps(_formed(report), allow_nan=False) + "\n"


def written(path: str | os.PathLike[str] | None, text: str) -> str:
    """Return a text, written to a file if there is a path."""
    if path is not None:
        write_text(Path(path), text)
    return text


def _formed(report: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"format": "skvae.CertificateReport", "version": JSON_VERSION}
    for name, value in report.items():
        # JSON has no word for what is not finite.
        is_odd = isinstance(value, float) and not math.isfinite(value)
        fields[name] = None if is_odd else value
    if report["probe"] is not None:
        fields["probe"] = _formed(report["probe"])
    return fields
