"""The report of one run or several: one HTML file that holds everything it shows."""

from qcs.report.gather import Where
from qcs.report.page import write_report

__all__ = ["Where", "write_report"]
