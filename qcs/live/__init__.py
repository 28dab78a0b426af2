"""Follow faces in videos and camera streams: detection now and then, tracking between, probabilities filtered in time.

Needs the extra: `pip install 'qcs-fer[faces]'`. Nothing here needs PyTorch but the default classifier of `watch`.
"""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.live.filter import ProbabilityFilter as ProbabilityFilter
    from qcs.live.motion import Motion as Motion
    from qcs.live.speed import Speed as Speed
    from qcs.live.stream import Watch as Watch
    from qcs.live.stream import watch as watch
    from qcs.live.tracker import Tracker as Tracker
    from qcs.live.window import Window as Window
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "ProbabilityFilter": "filter",
            "Motion": "motion",
            "Speed": "speed",
            "Tracker": "tracker",
            "Watch": "stream",
            "watch": "stream",
            "Window": "window",
        },
        extra="faces",
    )
