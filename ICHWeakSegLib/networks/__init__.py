"""Networks (torch.nn.Module): the classifiers of slices and of sequences, and published weights."""

from .published_weights import convert_published_state_dict
from .sequence_classifier import SequenceClassifier
from .swin_classifier import PAPER_BACKBONE, STRATEGIES, SwinClassifier

__all__ = [
    "PAPER_BACKBONE",
    "STRATEGIES",
    "SequenceClassifier",
    "SwinClassifier",
    "convert_published_state_dict",
]
