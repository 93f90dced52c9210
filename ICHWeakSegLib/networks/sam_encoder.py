"""SAM's ViT image encoder with features of several depths (Kirillov et al. 2023, arXiv 2304.02643).

The network is timm's. Official weight files (SAM, MedSAM; `image_encoder.*`) load strictly from a local path; for
an input of another size than theirs the position embeddings are resampled.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import resample_abs_pos_embed_nhwc
from timm.models.vision_transformer_sam import VisionTransformerSAM, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional

from ICHWeakSegLib.ct.errors import InputError

# The official sizes, as arguments of `SamEncoder`.
SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_blocks": [2, 5, 8, 11]},
    "vit_l": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "global_blocks": [5, 11, 17, 23]},
    "vit_h": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_blocks": [7, 15, 23, 31]},
}
_PREFIX = "image_encoder."


class SamEncoder(nn.Module):
    """The image encoder of SAM.

    Args:
        size: side of the images in pixels, a multiple of `patch`; official weights learned at 1024.
        in_chans: channels of the images; official weights have 3.
        embed_dim, depth, num_heads: of the ViT.
        global_blocks: blocks (from 0) that attend to the whole image, and whose features are handed out; the
            others attend within windows.
        window: side of the windows in patches.
        patch: side of a patch in pixels.
        neck: channels of the embedding.
        normalize: shift and scale images of 0-1 by ImageNet's mean and deviation, as SAM learned; MedSAM
            (Ma et al. 2024, doi 10.1038/s41467-024-44824-z) learned on 0-1 as it is.

    Attributes:
        channels: of the feature maps, in the order in which `forward` gives them.
        strides: pixels of the image to one of each feature map.

    Raises:
        ValueError: sizes that do not fit each other.

    Example:
        >>> encoder = SamEncoder(256, **SIZES["vit_b"])
        >>> encoder.load_official("sam_vit_b_01ec64.pth")
        >>> [features.shape for features in encoder(torch.zeros(1, 3, 256, 256))][-1]
        torch.Size([1, 256, 16, 16])
    """

    def __init__(
        self,
        size: int = 1024,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        global_blocks: tuple[int, ...] | list[int] = (2, 5, 8, 11),
        window: int = 14,
        patch: int = 16,
        neck: int = 256,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.global_blocks = sorted(int(block) for block in global_blocks)
        if size % patch:
            raise ValueError(f"The image's side is a multiple of the patch's ({patch}), not {size}.")
        if not self.global_blocks or self.global_blocks[0] < 0 or self.global_blocks[-1] >= depth:
            raise ValueError(f"Global blocks lie between 0 and {depth - 1}, not {list(global_blocks)}.")
        self.size, self.normalize = size, normalize
        self.vit = VisionTransformerSAM(
            img_size=size,
            patch_size=patch,
            in_chans=in_chans,
            num_classes=0,
            global_pool="",
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            # timm's default is 1e-5; SAM learned with 1e-6.
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=tuple(self.global_blocks),
            neck_chans=neck,
        )
        for place in ("mean", "deviation"):
            values = IMAGENET_DEFAULT_MEAN if place == "mean" else IMAGENET_DEFAULT_STD
            # CT windows beyond the third have no such statistics of their own.
            channels = torch.tensor([values[n % 3] for n in range(in_chans)])
            self.register_buffer(place, channels[:, None, None], persistent=False)
        self.channels = [embed_dim] * len(self.global_blocks) + [neck]
        self.strides = [patch] * len(self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images (B, in_chans, size, size) in 0-1.

        Returns:
            The maps behind each global block, (B, embed_dim, size / patch, size / patch), then the embedding of
            the neck, (B, neck, size / patch, size / patch).

        Raises:
            ValueError: images of another shape.
        """
        wanted = (self.vit.in_chans, self.size, self.size)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted:
            raise ValueError(f"Images must be (B, {', '.join(map(str, wanted))}), got {tuple(images.shape)}.")
        if self.normalize:
            images = (images - self.mean) / self.deviation
        embedding, features = self.vit.forward_intermediates(images, indices=self.global_blocks)
        return [*features, embedding]

    def load_official(self, path: str | Path) -> None:
        """Take the weights of an official SAM or MedSAM file: of the whole SAM, or of its image encoder.

        Raises:
            InputError: no such file, not a weight file, or a tensor is missing, unknown or of another shape.
        """
        path = Path(path)
        self.load_state_dict({f"vit.{key}": value for key, value in self._official(path).items()})

    def _official(self, path: Path) -> dict[str, Tensor]:
        tensors = _read(path)
        whole = any(key.startswith(_PREFIX) for key in tensors)
        named = dict(tensors) if whole else {_PREFIX + key: value for key, value in tensors.items()}
        found = checkpoint_filter_fn({k: v for k, v in named.items() if k.startswith(_PREFIX)}, self.vit)
        wanted = self.vit.state_dict()
        for sort, keys in (
            ("lacks", sorted(wanted.keys() - found.keys())),
            ("has the unknown", sorted(found.keys() - wanted.keys())),
        ):
            if keys:
                raise InputError(
                    f"{path} does not hold this SAM image encoder: it {sort} tensor {_official_name(keys[0])} "
                    f"({len(keys)} such tensors); give the file of the right size (vit_b, vit_l, vit_h)."
                )
        for key, value in found.items():
            if value.shape != wanted[key].shape:
                found[key] = _resampled(key, value, wanted[key].shape)
            if found[key].shape != wanted[key].shape:
                raise InputError(
                    f"{path} does not hold this SAM image encoder: tensor {_official_name(key)} has the shape "
                    f"{tuple(value.shape)} instead of {tuple(wanted[key].shape)}."
                )
        return {key: value.float() for key, value in found.items()}


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise InputError(f"There is no weight file {path}: give the path of a SAM or MedSAM .pth file.")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as problem:
        raise InputError(
            f"{path} is not a weight file that can be read safely: get the official .pth file again."
        ) from problem
    # MedSAM's training files keep the weights beside the optimizer's state.
    if isinstance(tensors, dict) and isinstance(tensors.get("model"), dict):
        tensors = tensors["model"]
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise InputError(f"{path} holds no table of weights: give the official SAM or MedSAM .pth file.")
    return tensors


def _resampled(key: str, value: Tensor, shape: torch.Size) -> Tensor:
    """A position embedding for another size of image; whatever else differs stays as it is."""
    if key == "pos_embed" and value.ndim == 4 and value.shape[3] == shape[3]:
        return resample_abs_pos_embed_nhwc(value, list(shape[1:3]))
    if "rel_pos_" in key and value.ndim == 2 and value.shape[1] == shape[1]:
        moved = functional.interpolate(value.float().T[None], size=shape[0], mode="linear")
        return moved[0].T
    return value


def _official_name(key: str) -> str:
    return _PREFIX + key.replace("mlp.fc", "mlp.lin")
