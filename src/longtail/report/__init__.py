"""Reads run folders and writes one self-contained HTML page, CSV tables and figures. Never imports torch."""

from longtail.report.tables import Table, format_table
from longtail.report.write import Report, write_report

__all__ = ["Report", "Table", "format_table", "write_report"]
