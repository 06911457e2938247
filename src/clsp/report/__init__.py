"""The report: one self-contained page for a run, a comparison, or several of them."""

from clsp.report.page import build_report as build_report
from clsp.report.page import build_report_of_several as build_report_of_several
