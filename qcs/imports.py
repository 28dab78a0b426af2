"""ONNX Runtime, told to report nothing: from 1.29 on it reports to its makers unless it is told before it starts.

It would send what models it runs, how often and on what machine, under an identifier that it leaves on the disk.
"""

from __future__ import annotations

import os
from typing import Any


def onnxruntime() -> Any:
    """The module onnxruntime, which must not have computed anything yet; a value that the user has set is kept."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
