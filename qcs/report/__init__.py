"""Figures of trained networks, and the HTML report on runs.

`DataLocation`, `write_report` and `write_comparison` load on first use: `qcs.report.figures` needs only the extra
`viz`, the HTML pages need the extra `report`.
"""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.report.comparison_page import write_comparison as write_comparison
    from qcs.report.gather import DataLocation as DataLocation
    from qcs.report.page import write_report as write_report
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {"DataLocation": "gather", "write_comparison": "comparison_page", "write_report": "page"},
        extra="report",
    )
