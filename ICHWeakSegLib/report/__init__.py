"""The report of a case: a page, a PDF, and DICOM objects for a PACS."""

from ICHWeakSegLib.report.case import Case, case_of, make_case
from ICHWeakSegLib.report.html import write_html
from ICHWeakSegLib.report.pdf import write_pdf
from ICHWeakSegLib.report.pictures import pictures_of

__all__ = ["Case", "case_of", "make_case", "pictures_of", "write_html", "write_pdf"]
