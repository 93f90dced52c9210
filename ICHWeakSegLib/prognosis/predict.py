"""The outcome of one patient: from a CT, admission fields, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.inference.settings import choose_device, torch_threads

if TYPE_CHECKING:
    import torch

    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.networks.sc_network import ScNetwork, ScOutput
    from ICHWeakSegLib.prognosis.clinical import Clinical
    from ICHWeakSegLib.prognosis.scan import Scan

Progress = Callable[[str, int, int], None]


@dataclass
class Prognosis:
    """What the network says of one patient. S slabs with brain from inferior, of h x w pixels; T tokens.

    Attributes:
        probability: of the poor outcome that the model's card names, 0-1.
        tokens: of the text as the encoder cut it; empty without text.
        token_weights: float32 (T,), sum 1: how much each token counted; empty without text.
        modalities: `ct`, `text` or both.
        slice_weights: float32 (S,), sum 1: how much each slab counted; None without a CT.
        image_maps: float32 (S, h, w), 0-1: where the outcome looked (attention within a slab times the slab's
            weight, over the volume's highest); None without a CT.
        blood: float32 (S, h, w), probability of blood, 0 outside the brain; None without a CT.
        blood_ml: mL of pixels that are rather blood than not, each counted by its probability; None without a CT.
        hu: int16 (S, h, w), HU of the same slabs on the same grid; None without a CT.
        spacing_mm: slab, row and column step of that grid; None without a CT.
        slices: of each slab the axial slices of the CT that it is the mean of; empty without a CT.
        text: the sentences that went in.
        warnings: sentences on the input and on what had to be done differently.
    """

    probability: float
    tokens: list[str]
    token_weights: np.ndarray
    modalities: tuple[str, ...]
    slice_weights: np.ndarray | None = None
    image_maps: np.ndarray | None = None
    blood: np.ndarray | None = None
    blood_ml: float | None = None
    hu: np.ndarray | None = None
    spacing_mm: tuple[float, float, float] | None = None
    slices: list[range] = field(default_factory=list)
    text: str = ""
    warnings: list[str] = field(default_factory=list)


def prognose(
    model: Model | str | Path,
    ct: CT | Scan | str | Path | None = None,
    clinical: Clinical | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    leaked: Mapping[str, str] | None = None,
) -> Prognosis:
    """Probability of a poor outcome.

    Args:
        model: a loaded model of the kind `sc-network`, its name, or its folder.
        ct: a CT, the path of one, or a `Scan` (`scan.read_scan`) made with the preprocessing of the model's card,
            which several calls may share; None: from the text alone.
        clinical: admission fields; None, or none known: from the CT alone.
        device: `auto`, `cpu`, `cuda` or `mps`; without memory there it goes on with fewer slices at a time, then
            on the CPU, and says so in the warnings.
        threads: CPU threads of torch during the call; its own choice by default.
        progress: called as (stage, done, total).
        leaked: fields known only after admission, of a model that learned from such; others are ignored.

    Raises:
        InputError: neither CT nor fields, or one of them or the model cannot be used.

    Example:
        >>> prognose("mine", "head.nii.gz", Clinical(age=71, gcs=9)).probability
    """
    from ICHWeakSegLib.models import load_model
    from ICHWeakSegLib.prognosis.admission_text import admission_text

    def step(stage: str, done: int = 0, total: int = 1) -> None:
        if progress is not None:
            progress(stage, done, total)

    if isinstance(model, (str, Path)):
        step("loading the model")
        model = load_model(model)
    part = model.card.prognosis
    if part is None:
        raise InputError(
            f"Model {model.card.name} tells no outcome: train one with 'ichweakseg train prognosis', or give "
            "another --model."
        )
    given = {name: value for name, value in (leaked or {}).items() if name in part.leaks}
    text = admission_text(clinical, part.template, given)
    if ct is None and not text:
        raise InputError("There is neither a CT nor an admission field: give at least one of them.")
    place = choose_device(device)
    with torch_threads(threads):
        notes: list[str] = []
        scan = None
        if ct is not None:
            scan = _scan(ct, model, notes, step)
        step("prognosis")
        out = _run(model.network.to(place), scan, text, model, notes)
    step("prognosis", 1, 1)
    return _prognosis(out, scan, text, notes)


def _scan(ct: CT | Scan | str | Path, model: Model, notes: list[str], step: Progress) -> Scan:
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.prognosis.scan import Scan, read_scan

    if isinstance(ct, Scan):
        if ct.source.preprocessing != model.card.preprocessing:
            raise InputError(
                f"The scan was made for another model's input than that of {model.card.name}: make it anew."
            )
        notes += ct.warnings
        return ct
    if isinstance(ct, (str, Path)):
        step("reading")
        ct = read_ct(ct)
    step("brain mask")
    scan = read_scan(ct, model.card.preprocessing)
    notes += scan.warnings
    return scan


def _run(network: ScNetwork, scan: Scan | None, text: str, model: Model, notes: list[str]) -> ScOutput:
    """One pass; with less at a time where memory runs out, then on the CPU."""
    import torch

    from ICHWeakSegLib.localize.batches import is_out_of_memory
    from ICHWeakSegLib.networks.segmenter import segmenter_channels

    wanted = network.slices_at_once
    try:
        while True:
            place = network.no_text.device
            try:
                with torch.inference_mode():
                    if scan is None:
                        return network(None, [text])
                    brain = torch.from_numpy(scan.brain).to(place)
                    hu = torch.from_numpy(scan.hu).to(place)
                    images = segmenter_channels(hu[:, None], brain, model.card.preprocessing)
                    pixels = torch.from_numpy(scan.pixel_ml).to(place)
                    return network(images[None], [text], brain=brain[None], pixel_ml=pixels[None])
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem):
                    raise
            if network.slices_at_once > 1:
                network.slices_at_once = max(1, network.slices_at_once // 4)
                notes.append(f"{place} ran out of memory; going on with fewer slices at a time.")
            elif place.type != "cpu":
                network.to("cpu")
                notes.append(f"{place} ran out of memory with one slice; going on, slower, on the CPU.")
            else:
                raise MemoryError("The machine's memory is too small for one slice. Close other programs.")
    finally:
        network.slices_at_once = wanted


def _prognosis(out: ScOutput, scan: Scan | None, text: str, notes: list[str]) -> Prognosis:
    tokens = out.tokens[0]
    found = Prognosis(
        probability=float(out.outcome[0].sigmoid()),
        tokens=tokens,
        token_weights=_array(out.token_weights[0])[: len(tokens)],
        modalities=(*(("ct",) if scan is not None else ()), *(("text",) if text else ())),
        text=text,
        warnings=notes,
    )
    if scan is None:
        return found
    weights = _array(out.slice_weights[0])
    maps = _array(out.image_weights[0]) * weights[:, None, None]
    size = scan.hu.shape[-1] // maps.shape[-1]
    maps = np.repeat(np.repeat(maps, size, axis=1), size, axis=2) * scan.brain
    found.slice_weights = weights
    found.image_maps = (maps / max(float(maps.max()), 1e-12)).astype(np.float32)
    found.blood = _array(out.blood[0].sigmoid()) * scan.brain
    found.blood_ml = float(out.volume_ml[0])
    found.hu = scan.hu
    found.slices = [scan.source.groups[slab] for slab in scan.slabs]
    found.spacing_mm = _spacing(scan)
    return found


def _spacing(scan: Scan) -> tuple[float, float, float]:
    rows, columns = scan.grid.spacing_mm
    frame, positions = scan.source.frame, np.asarray(scan.grid.positions_mm, float)
    middles = [float(positions[group.start : group.stop].mean()) for group in scan.source.groups]
    step = float(np.median(np.diff(middles))) if len(middles) > 1 else 1.0
    return step, float(rows * frame.rows.step), float(columns * frame.columns.step)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
