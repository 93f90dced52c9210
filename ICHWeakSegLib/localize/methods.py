"""The localization methods by name, with the thresholds that were published for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .class_activation import grad_cam, grad_cam_pass, hires_cam, hires_cam_pass, layer_cam, layer_cam_pass
from .hgi_sam import hgi_sam, hgi_sam_pass
from .resnet_cam import CAM_THRESHOLD, cam, cam_pass, resnet_grad_cam, resnet_grad_cam_pass
from .swin_sam import swin_sam, swin_sam_pass


@dataclass(frozen=True)
class Method:
    """One way from a classifier to maps.

    Attributes:
        name: as in `METHODS`.
        maps: (classifier, images, brain, **options) -> maps (B, H, W).
        one_pass: (classifier, images, brain, select, **options) -> logits (B, classes), maps (B, H, W).
        default_threshold: map value in 0-1 from which on a pixel counts as blood.
        thresholds: others, by learning strategy.

    Calling a method gives its maps.
    """

    name: str
    maps: Callable[..., Tensor]
    one_pass: Callable[..., tuple[Tensor, Tensor]]
    default_threshold: float
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, *arguments: object, **options: object) -> Tensor:
        return self.maps(*arguments, **options)

    def threshold(self, strategy: str = "binary") -> float:
        """The threshold for a classifier that learned by `strategy` (binary, binary-sigmoid, subtypes)."""
        return self.thresholds.get(strategy, self.default_threshold)


# Thresholds of HGI-SAM, Swin-SAM and Grad-CAM: arXiv 2304.04902; the other CAMs borrow that of Grad-CAM.
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("hgi-sam", hgi_sam, hgi_sam_pass, 0.05),
        Method("swin-sam", swin_sam, swin_sam_pass, 0.07, {"subtypes": 0.11}),
        Method("grad-cam", grad_cam, grad_cam_pass, 0.8),
        Method("layer-cam", layer_cam, layer_cam_pass, 0.8),
        Method("hires-cam", hires_cam, hires_cam_pass, 0.8),
    )
}

# Of the sequence classifier's ResNet.
RESNET_METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("grad-cam", resnet_grad_cam, resnet_grad_cam_pass, CAM_THRESHOLD),
        Method("cam", cam, cam_pass, CAM_THRESHOLD),
    )
}
# A segmenter's map is its own probability.
PROBABILITY = "probability"


def default_thresholds(kind: str, strategy: str) -> dict[str, float]:
    """The methods that a network of this kind knows, each with its default threshold of the map.

    Args:
        kind: `swin-classifier`, `sequence-classifier`, `segmenter` or `sc-network`.
        strategy: learning strategy.
    """
    if kind in ("segmenter", "sc-network"):
        return {PROBABILITY: 0.5}
    methods = RESNET_METHODS if kind == "sequence-classifier" else METHODS
    return {name: method.threshold(strategy) for name, method in methods.items()}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in METHODS:
        raise ValueError(f"Unknown localization method {name!r}; choose one of {', '.join(METHODS)}.")
    return METHODS[name]
