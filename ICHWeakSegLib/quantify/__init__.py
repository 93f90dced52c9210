"""From masks to numbers: lesions, clinical scores, follow-up."""

from ICHWeakSegLib.quantify.entered import Entered, clinical_scores
from ICHWeakSegLib.quantify.follow_up import FollowUp, follow_up
from ICHWeakSegLib.quantify.func_score import func_score
from ICHWeakSegLib.quantify.ich_score import ich_score
from ICHWeakSegLib.quantify.lesion import Lesion, Quantities, Totals
from ICHWeakSegLib.quantify.measure import measure
from ICHWeakSegLib.quantify.score import Part, Score

__all__ = [
    "Entered",
    "FollowUp",
    "Lesion",
    "Part",
    "Quantities",
    "Score",
    "Totals",
    "clinical_scores",
    "follow_up",
    "func_score",
    "ich_score",
    "measure",
]
