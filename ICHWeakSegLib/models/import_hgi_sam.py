"""Importing the HGI-SAM authors' published weights (Rasoulian et al. 2023) as a model package."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import (
    SUBTYPES,
    Architecture,
    MapSettings,
    ModelCard,
    OperatingPoint,
    Preprocessing,
    Training,
    is_model_name,
)
from ICHWeakSegLib.models.find import list_models, user_folder
from ICHWeakSegLib.models.load import fill_network
from ICHWeakSegLib.models.save import save_model

if TYPE_CHECKING:
    import torch

WINDOWS = {
    "ct-ich": ((40.0, 120.0), (80.0, 340.0), (700.0, 3200.0)),
    "rsna": ((40.0, 80.0), (80.0, 200.0), (600.0, 2800.0)),
}
_CLASSES = {
    "binary": ("none", "any"),
    "binary-sigmoid": ("any",),
    # The order of the published labels.
    "subtypes": (*SUBTYPES, "any"),
}
_STRATEGY_OF_HEAD = {2: "binary", 1: "binary-sigmoid", 6: "subtypes"}
_NESTS = ("model", "state_dict", "model_state_dict", "net", "network")
_CITATION = (
    "Rasoulian A, Salari S, Xiao Y. Weakly supervised intracranial hemorrhage segmentation using head-wise "
    "gradient-infused self-attention maps from a Swin transformer in categorical learning. MELBA 2023; "
    "arXiv:2304.04902."
)


def import_hgi_sam(
    file: str | Path,
    name: str,
    strategy: str | None = None,
    windows: str = "ct-ich",
    overwrite: bool = False,
    architecture: Architecture | None = None,
) -> Path:
    """Turn a checkpoint of the authors' classifier into a model in the user's folder.

    Args:
        file: the `.pth`: a state dict with keys `swin.*` and `head.*`, plain or under `model`, `state_dict`
            or `model_state_dict`, with or without `module.` before each key.
        name: name for the model.
        strategy: `binary`, `binary-sigmoid` or `subtypes`; None reads it from the head's size.
        windows: `ct-ich` or `rsna`, the paper's windows for the data set that the CT resembles.
        overwrite: replace a model of this name in the user's folder.
        architecture: another backbone than the published Swin-B at 384 pixels (`num_classes` is replaced).

    Returns:
        Folder of the new model.

    Raises:
        ModelError: the file is missing, is no such checkpoint, or would run code; the name is taken.
    """
    from ICHWeakSegLib.models.build import build_network
    from ICHWeakSegLib.networks import convert_published_state_dict

    file = Path(file)
    if windows not in WINDOWS:
        raise ModelError(f"Windows are {' or '.join(WINDOWS)}, not {windows!r}.")
    if not is_model_name(name):
        raise ModelError(f"'{name}' cannot name a model: use letters, digits, dots, dashes and underscores.")
    _check_free(name, overwrite)
    state = _read_checkpoint(file)
    classes = _head_size(state, file)
    found = _STRATEGY_OF_HEAD.get(classes)
    if found is None:
        raise ModelError(f"{file} has a head of {classes} classes; the published models have 1, 2 or 6.")
    if strategy is not None and strategy != found:
        raise ModelError(f"{file} has a head of {classes} classes: its strategy is {found}, not {strategy}.")

    base = architecture or Architecture("swin_base_patch4_window12_384", classes)
    built = Architecture(base.backbone, classes, base.kind, base.in_chans, base.overrides)
    network = build_network(built)
    try:
        tensors = convert_published_state_dict(state, network)
    except (KeyError, ValueError, RuntimeError) as problem:
        reason = problem.args[0] if problem.args else problem
        raise ModelError(f"{file} does not fit {built.backbone}: {str(reason).rstrip('.')}.") from problem
    if isinstance(tensors, Mapping):
        fill_network(network, dict(tensors), str(file))
    folder = user_folder() / name
    size = int(built.overrides.get("img_size", 384))
    # float32: an import is to give the authors' numbers.
    save_model(folder, _card(name, file, built, found, windows, size), network, "float32", overwrite)
    return folder


def _check_free(name: str, overwrite: bool) -> None:
    """Refuse a taken name before the slow part."""
    for model in list_models():
        if model.name != name and model.folder.name != name:
            continue
        if model.origin == "bundled":
            raise ModelError(f"A model {name} came with ICHWeakSeg: choose another name.")
        if not overwrite:
            raise ModelError(
                f"There is a model {name} in {model.folder}: choose another name or overwrite it."
            )


def _read_checkpoint(file: Path) -> dict[str, torch.Tensor]:
    import torch

    if not file.is_file():
        raise ModelError(f"{file} is not there: give the path of the authors' .pth file.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        # torch names the function that the file asks for; any other complaint is about its form.
        if re.search(r"global|Unsupported class|Can't find|Trying to call", str(problem), re.IGNORECASE):
            raise ModelError(
                f"{file} holds more than weights and could run code when opened, so it is refused: "
                "save it again as a plain state dict."
            ) from problem
        raise ModelError(f"{file} is not a PyTorch weight file or is damaged.") from problem
    except Exception as problem:  # torch raises many kinds for files that are not its own
        raise ModelError(f"{file} is not a PyTorch weight file or is damaged.") from problem
    state = _unwrapped(content)
    if state is None:
        raise ModelError(f"{file} holds no state dict of an HGI-SAM classifier (keys swin.* and head.*).")
    return state


def _unwrapped(content: Any) -> dict[str, torch.Tensor] | None:
    """The tensors by name, without nests and without the prefix that DataParallel leaves."""
    import torch

    for _ in range(3):
        if not isinstance(content, Mapping):
            return None
        nest = next((key for key in _NESTS if isinstance(content.get(key), Mapping)), None)
        if nest is None:
            break
        content = content[nest]
    if not content or not all(isinstance(key, str) for key in content):
        return None
    state = {key.removeprefix("module."): value for key, value in content.items()}
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        return None
    return state if any(key.startswith("swin.") for key in state) else None


def _head_size(state: Mapping[str, torch.Tensor], file: Path) -> int:
    # The method's first form kept the head inside the backbone.
    keys = ("head.weight", "swin.head.weight", "swin.head.fc.weight")
    head = next((state[key] for key in keys if key in state), None)
    if head is None or head.ndim != 2:
        raise ModelError(f"{file} has no head.weight: it is not an HGI-SAM classifier.")
    return int(head.shape[0])


def _card(
    name: str, file: Path, architecture: Architecture, strategy: str, windows: str, size: int
) -> ModelCard:
    classes = _CLASSES[strategy]
    return ModelCard(
        name=name,
        version="imported",
        description="Weights published by the authors of HGI-SAM, imported from their file.",
        architecture=architecture,
        strategy=strategy,
        classes=classes,
        target=classes.index("any"),
        preprocessing=Preprocessing(
            framing="resize-crop",
            size=size,
            # The paper's proportion, 422 to 384.
            resize=422 if size == 384 else round(size * 422 / 384),
            windows=WINDOWS[windows],
            scaling="observed",
        ),
        operating=OperatingPoint(0.5),
        map=MapSettings(method="hgi-sam", threshold=0.05, refine="none"),
        training=Training(data="as described by the authors; not recorded in the file"),
        limits=(
            "Imported weights: nothing about them was measured here.",
            f"The windows ({windows}) were chosen at import; the file does not say which the weights expect.",
        ),
        licence="the authors' own: see where you got the file",
        citation=_CITATION,
        extra={"imported_from": {"file": file.name, "sha256": _sha256(file)}},
    )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
