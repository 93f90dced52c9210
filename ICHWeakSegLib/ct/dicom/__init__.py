"""CT from DICOM: finding slices, grouping them into stacks, choosing one, geometry and pixels."""

from ICHWeakSegLib.ct.dicom.reading import read_dicom, read_files
from ICHWeakSegLib.ct.dicom.scan import SliceFile, scan_slices

__all__ = ["SliceFile", "read_dicom", "read_files", "scan_slices"]
