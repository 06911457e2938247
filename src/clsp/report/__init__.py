"""The report: one self-contained page for a run."""

from clsp.report.page import build_report as build_report
from clsp.report.page import build_report_of_runs as build_report_of_runs
