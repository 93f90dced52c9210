"""Results as files: segmentation, label map, table of slices, preview."""

from ICHWeakSegLib.output.facts import blood_voxels, result_facts
from ICHWeakSegLib.output.label_map import write_label_map
from ICHWeakSegLib.output.preview import write_preview
from ICHWeakSegLib.output.result_preview import write_result_preview
from ICHWeakSegLib.output.scores import write_slice_scores
from ICHWeakSegLib.output.seg_nrrd import write_seg_nrrd
from ICHWeakSegLib.output.write import MASK_ENDINGS, check_output_path, check_place, write_result_mask

__all__ = [
    "MASK_ENDINGS",
    "blood_voxels",
    "check_output_path",
    "check_place",
    "result_facts",
    "write_label_map",
    "write_preview",
    "write_result_mask",
    "write_result_preview",
    "write_seg_nrrd",
    "write_slice_scores",
]
