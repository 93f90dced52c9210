"""Networks (torch.nn.Module): the slice classifier and its published weights."""

from .published_weights import convert_published_state_dict
from .swin_classifier import PAPER_BACKBONE, STRATEGIES, SwinClassifier

__all__ = ["PAPER_BACKBONE", "STRATEGIES", "SwinClassifier", "convert_published_state_dict"]
