"""Segmentation networks: one logit a pixel from a slice, its neighbours and its mirror image.

The networks are MONAI's; this file feeds them and reads them:

- neighbouring slices as further channels, since blood goes on from slice to slice and beam hardening does not
  (2.5D);
- the difference to the slice's own mirror image, since heads are symmetric and bleeds mostly are not: its
  two halves differ in sign only;
- slice scores from the map itself: the mean of its highest logits in the brain (top-k pooling of
  multiple-instance learning, e.g. Zhu et al. 2017, arXiv 1705.08550), so that image-level labels can teach the
  map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from monai.networks.nets import BasicUNet, SwinUNETR, UNet
from torch import Tensor, nn
from torch.nn import functional

from ICHWeakSegLib.ct.network_input import Preprocessing

KINDS = ("basic-unet", "unet", "swin-unetr")
# Constructor arguments of `Segmenter`; the sizes of the last three are their papers'.
PRESETS: dict[str, dict[str, Any]] = {
    # Ours, for weak supervision: small enough for two CPU cores.
    "weak": {
        "kind": "basic-unet",
        "context": 1,
        "mirror": True,
        "features": [16, 16, 32, 64, 128, 16],
    },
    # The same at half the resolution within.
    "weak-fast": {
        "kind": "basic-unet",
        "context": 1,
        "mirror": True,
        "fold": 2,
        "features": [24, 24, 48, 96, 192, 24],
    },
    # HGI-SAM's fully supervised baselines.
    "unet": {"kind": "unet", "channels": [24, 48, 96, 192], "strides": [2, 2, 2]},
    "swin-unetr": {"kind": "swin-unetr", "feature_size": 12},
    # Of the sequence model with pseudo-masks: starts with 16 features.
    "unet-16": {"kind": "basic-unet", "features": [16, 32, 64, 128, 256, 16]},
}
# A pixel outside the brain: as good as no blood, and finite.
NEVER = -20.0
_LEAKY = ("LeakyReLU", {"inplace": True})


class Segmenter(nn.Module):
    """A MONAI network that gives one blood logit a pixel.

    Args:
        kind: `basic-unet` (two convolutions a level, full resolution), `unet` (MONAI's UNet, strided
            convolutions; cheaper) or `swin-unetr` (2D).
        windows: CT windows of the slice itself, as many as the preprocessing has.
        context: slices on each side that come in as further channels, each in one window.
        mirror: add the difference of every channel to its left-right mirror image.
        fold: folds `fold` x `fold` pixels into channels before the network and its logits out of channels
            behind it (sub-pixel convolution, arXiv 1609.05158): 2 saves most of the work at full resolution.
        top_k: pixels whose mean logit is the slice's logit.
        members: networks of this kind side by side, whose mean logit counts; see `committee`.
        arguments: passed on to MONAI's network (plain JSON): `features`, `channels`, `strides`,
            `feature_size`, `norm`, `dropout` ...

    Raises:
        ValueError: unknown kind, a number that makes no sense, or arguments that MONAI refuses.

    Example:
        >>> network = Segmenter("unet", windows=3, context=1, mirror=True)
        >>> network(torch.zeros(2, network.in_chans, 192, 192)).shape
        torch.Size([2, 1, 192, 192])
    """

    def __init__(
        self,
        kind: str = "basic-unet",
        windows: int = 3,
        context: int = 0,
        mirror: bool = False,
        fold: int = 1,
        top_k: int = 40,
        members: int = 1,
        **arguments: Any,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"The network's kind is one of {', '.join(KINDS)}, not {kind!r}.")
        for name, value, least in (
            ("windows", windows, 1),
            ("context", context, 0),
            ("fold", fold, 1),
            ("top_k", top_k, 1),
            ("members", members, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}.")
        self.kind, self.windows, self.context, self.mirror = kind, windows, context, bool(mirror)
        self.fold, self.top_k, self.members, self.arguments = fold, top_k, members, dict(arguments)
        seen = self.in_chans * (2 if mirror else 1) * fold**2
        try:
            built = [_build(kind, seen, fold**2, arguments) for _ in range(members)]
            self.network, self._multiple = built[0]
            if members > 1:
                self.network = _Mean([network for network, _ in built])
        except Exception as problem:
            # MONAI checks few arguments itself: a wrong one ends in any kind of error.
            reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
            raise ValueError(f"MONAI cannot build {kind!r} with {arguments}: {reason}") from problem

    @property
    def in_chans(self) -> int:
        """Channels of the input: windows of the slice and its neighbours."""
        return self.windows + 2 * self.context

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again, plain JSON: `Segmenter(**network.config)`."""
        return {
            "kind": self.kind,
            "windows": self.windows,
            "context": self.context,
            "mirror": self.mirror,
            "fold": self.fold,
            "top_k": self.top_k,
            # Configurations of one network stay as they were.
            **({"members": self.members} if self.members > 1 else {}),
            **self.arguments,
        }

    def forward(self, images: Tensor) -> Tensor:
        """Blood logits of slices.

        Args:
            images: (B, in_chans, H, W), windowed to 0-1, columns from the patient's right to left, any size.

        Returns:
            Logits (B, 1, H, W).

        Raises:
            ValueError: another number of channels.
        """
        if images.ndim != 4 or images.shape[1] != self.in_chans:
            raise ValueError(f"Images must be (B, {self.in_chans}, H, W), got {tuple(images.shape)}.")
        height, width = images.shape[2:]
        if self.mirror:
            images = torch.cat([images, mirrored_difference(images)], 1)
        step = self._multiple * self.fold
        down, right = -height % step, -width % step
        if down or right:
            images = functional.pad(images, (0, right, 0, down))
        if self.fold > 1:
            images = functional.pixel_unshuffle(images, self.fold)
        # Channels last is what convolutions on a CPU are quickest with.
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        if self.fold > 1:
            logits = functional.pixel_shuffle(logits, self.fold)
        return logits[:, :, :height, :width]

    def slice_logits(self, logits: Tensor, brain: Tensor) -> Tensor:
        """`slice_logits` with the network's own `top_k`."""
        return slice_logits(logits, brain, self.top_k)


class _Mean(nn.Module):
    """The mean of networks' outputs; only one at a time holds its activations."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, images: Tensor) -> Tensor:
        total = self.parts[0](images)
        for part in self.parts[1:]:
            total = total + part(images)
        return total / len(self.parts)


def committee(networks: Sequence[Segmenter]) -> Segmenter:
    """One segmenter that gives the mean logit of several, e.g. of those of a cross-validation.

    Committees of equally many members may join in one, too.

    Raises:
        ValueError: none, or they differ in more than their weights.
    """
    if not networks or any(network.config != networks[0].config for network in networks):
        raise ValueError("A committee needs one or more segmenters of one configuration.")
    if len(networks) == 1:
        return networks[0]
    parts = [part for one in networks for part in (one.network.parts if one.members > 1 else [one.network])]
    joined = Segmenter(**{**networks[0].config, "members": len(parts)})
    for own, part in zip(joined.network.parts, parts, strict=True):
        own.load_state_dict(part.state_dict())
    return joined.eval()


def mirrored_difference(images: Tensor) -> Tensor:
    """x - flip(x) along the columns, shape of `images`; mirrored, it is its own negative."""
    return images - images.flip(-1)


def slice_logits(logits: Tensor, brain: Tensor, k: int) -> Tensor:
    """The slice's logit: mean of the `k` highest logits in the brain (top-k pooling).

    Args:
        logits: (B, 1, H, W).
        brain: bool (B, H, W).
        k: pixels; a brain of fewer counts the rest as no blood.

    Returns:
        (B,), float32.
    """
    inside = logits[:, 0].float().masked_fill(~brain, NEVER).flatten(1)
    return inside.topk(min(k, inside.shape[1]), dim=1).values.mean(1)


class Planes(Protocol):
    """Cropped slices in order from inferior to superior: `NetworkInput`, or a training case."""

    def __len__(self) -> int: ...

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """HU and brain mask of a slab, each (size, size)."""
        ...


def neighbours(count: int, slab: int, context: int) -> list[int]:
    """The slab and `context` slabs on each side, from inferior; the first and the last slab repeat."""
    return [min(max(index, 0), count - 1) for index in range(slab - context, slab + context + 1)]


def segmenter_channels(hu: Tensor, brain: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Input channels of slices with their neighbours, for training and inference alike.

    Args:
        hu: HU (B, 1 + 2 context, H, W), the slice itself in the middle.
        brain: bool (B, H, W), of the slice itself.
        preprocessing: the model's; the neighbours are seen in its first window.

    Returns:
        (B, windows + 2 context, H, W) float32 in 0-1: the slice's windows, then the neighbours from inferior.
        Outside the slice's brain it is 0 where the preprocessing blanks it, and everywhere without a brain.
    """
    hu, middle = hu.float(), hu.shape[1] // 2
    own = [_window(hu[:, middle], *window) for window in preprocessing.windows]
    near = [_window(hu[:, n], *preprocessing.windows[0]) for n in range(hu.shape[1]) if n != middle]
    if preprocessing.blank_outside_brain:
        shown = brain[:, None]
    else:
        shown = brain.flatten(1).any(1)[:, None, None, None]
    return torch.stack([*own, *near], 1) * shown


def _window(hu: Tensor, level: float, width: float) -> Tensor:
    return ((hu - (level - width / 2)) / width).clamp(0, 1)


def segmenter_input(
    source: Planes, slabs: Sequence[int], preprocessing: Preprocessing, context: int
) -> tuple[Tensor, Tensor]:
    """Images (B, windows + 2 context, size, size) and brain masks (B, size, size) of these slabs.

    Args:
        source: the CT as a network sees it.
        slabs: which.
        preprocessing: the model's; windows with `fixed` scaling.
        context: slabs on each side.

    Raises:
        ValueError: the preprocessing scales windows by each slice.
    """
    if preprocessing.scaling != "fixed":
        raise ValueError("A segmenter takes windows with fixed scaling.")
    wanted = {slab: neighbours(len(source), slab, context) for slab in slabs}
    # Neighbours share slabs: each is cropped once.
    planes = {index: source.crop(index) for index in sorted({n for near in wanted.values() for n in near})}
    hu = torch.from_numpy(np.stack([np.stack([planes[n][0] for n in wanted[slab]]) for slab in slabs]))
    brain = torch.from_numpy(np.stack([planes[slab][1] for slab in slabs]))
    return segmenter_channels(hu, brain, preprocessing), brain


def _build(kind: str, in_chans: int, out_chans: int, arguments: dict[str, Any]) -> tuple[nn.Module, int]:
    """MONAI's network, and what its input's sides have to be multiples of."""
    if kind == "swin-unetr":
        network: nn.Module = SwinUNETR(
            in_chans, out_chans, **{"feature_size": 12, "spatial_dims": 2, **arguments}
        )
        return network, 32
    own = {"spatial_dims": 2, "in_channels": in_chans, "out_channels": out_chans}
    if kind == "unet":
        sizes = {"channels": (24, 48, 96, 192), "strides": (2, 2, 2), "norm": "batch", "act": _LEAKY}
        sizes |= arguments
        if len(sizes["strides"]) != len(sizes["channels"]) - 1:
            raise ValueError("'strides' needs one entry less than 'channels'")
        return UNet(**own, **sizes), int(np.prod(sizes["strides"]))
    sizes = {"features": (16, 16, 32, 64, 128, 16), "norm": "batch", "act": _LEAKY, **arguments}
    network = BasicUNet(**own, **sizes)
    for part in (network.upcat_4, network.upcat_3, network.upcat_2, network.upcat_1):
        # The sides fit already; MONAI's padding costs a tenth of the time in bfloat16, as it goes by float32.
        part.is_pad = False
    return network, 16
