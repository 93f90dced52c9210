"""Cohorts: find head CTs, segment each once, tables and a gallery for quality control."""

from ICHWeakSegLib.cohort.case import Case, Found, Skipped
from ICHWeakSegLib.cohort.find import find_cases
from ICHWeakSegLib.cohort.ledger import Stopped
from ICHWeakSegLib.cohort.run import Batch, run_batch

__all__ = ["Batch", "Case", "Found", "Skipped", "Stopped", "find_cases", "run_batch"]
