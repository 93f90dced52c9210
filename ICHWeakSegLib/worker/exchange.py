"""What the worker and its caller hand each other: a case folder with arrays, and the result read back.

A case folder holds `case.json` and `hu.npy` (written by the caller), and after a run `result.json` with the
arrays that it names. Whoever asks about masks that are there already puts `masks.json` beside it and gets
`answer.json`. Arrays are boxes: the part that is not zero, and where in the volume it lies. Nothing here needs
torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.bounding_box import bounding_box
from ICHWeakSegLib.ct.volume import CT

CASE_FILE = "case.json"
HU_FILE = "hu.npy"
MAP_FILE = "map.npy"
RESULT_FILE = "result.json"
MASKS_FILE = "masks.json"
ANSWER_FILE = "answer.json"
# Exit status of a worker that cannot even say that the disk is full, since its words go to a file.
NO_VOICE = 74
DISK_FULL = "The disk that holds temporary files is full: free some space and repeat."


@dataclass(frozen=True)
class Box:
    """The part of a volume that is not zero.

    Attributes:
        values: shape (k, j, i); (0, 0, 0) where the whole volume is zero.
        origin: index (k, j, i) of its first voxel in the volume.
    """

    values: np.ndarray
    origin: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, volume: np.ndarray) -> Box:
        """The smallest box of a volume (K, J, I); a view of it."""
        box = bounding_box(volume)
        if box is None:
            return cls(np.zeros((0, 0, 0), volume.dtype))
        return cls(volume[box], tuple(part.start for part in box))

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Where the box lies, as an index into the volume."""
        return tuple(slice(at, at + size) for at, size in zip(self.origin, self.values.shape, strict=True))

    def within(self, shape: tuple[int, int, int]) -> np.ndarray:
        """The whole volume of this shape (K, J, I)."""
        volume = np.zeros(shape, self.values.dtype)
        volume[self.place] = self.values
        return volume


@dataclass(frozen=True)
class Found:
    """Blood as numbers.

    Attributes:
        volume_ml: by the CT's true geometry.
        lesions: 26-connected components.
        slices: axial slices with blood.
        mean_hu: mean HU; None without blood.
    """

    volume_ml: float
    lesions: int
    slices: int
    mean_hu: float | None


@dataclass(frozen=True)
class FoundSegment:
    """One segment of a result.

    Attributes:
        name: `hemorrhage`, or a subtype: EDH, IPH, IVH, SAH, SDH.
        mask: 1 for blood, uint8.
        found: its numbers.
    """

    name: str
    mask: Box
    found: Found


@dataclass(frozen=True)
class CaseResult:
    """What the worker found on one CT.

    Attributes:
        shape: (K, J, I) of the CT.
        segments: one, or one a subtype for a model that learned subtypes; present also without blood.
        total: numbers of all blood together.
        map: localization map 0-1, float32.
        subtypes: for each voxel of positive slices which subtype blood there would be, as 1-based index into
            `subtype_names`, uint8; None for a model without subtypes.
        subtype_names: names of the subtypes in that order.
        slice_scores: a row for each axial slice: `slice`, `probability`, and one entry a class.
        positive: whether the classifier called the axial slice positive.
        warnings: sentences for the user.
        provenance: model, version, sha256, method, thresholds, software, device, ...
        quantities: lesions and totals, as `quantify.Quantities.to_dict` has them; None where nobody measured.
    """

    shape: tuple[int, int, int]
    segments: list[FoundSegment]
    total: Found
    map: Box | None = None
    subtypes: Box | None = None
    subtype_names: tuple[str, ...] = ()
    slice_scores: list[dict[str, float]] = field(default_factory=list)
    positive: list[bool] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    quantities: dict[str, Any] | None = None


def write_case(folder: Path, ct: CT) -> None:
    """Write a CT as a case folder; the folder exists."""
    np.save(folder / HU_FILE, np.ascontiguousarray(ct.hu))
    positions = ct.slice_positions_mm
    facts = {
        "ijk_to_ras": np.asarray(ct.ijk_to_ras, float).tolist(),
        "slice_positions_mm": None if positions is None else np.asarray(positions, float).tolist(),
        "warnings": ct.warnings,
        "source": ct.source,
        "shape": list(ct.hu.shape),
    }
    _write_json(folder / CASE_FILE, facts)


def read_case(folder: Path) -> CT:
    """The CT of a case folder; its HU are read from the file as they are needed."""
    facts = json.loads((folder / CASE_FILE).read_text("utf-8"))
    positions = facts["slice_positions_mm"]
    return CT(
        hu=np.load(folder / HU_FILE, mmap_mode="r"),
        ijk_to_ras=np.array(facts["ijk_to_ras"]),
        slice_positions_mm=None if positions is None else np.array(positions),
        warnings=facts["warnings"],
        source=facts["source"],
    )


def write_result(folder: Path, result: CaseResult) -> None:
    """Write a result into its case folder; `result.json` comes last, so that where it is, all is."""
    facts = {
        "shape": list(result.shape),
        "segments": _write_segments(folder, result.segments),
        "total": asdict(result.total),
        "map": _write_box(folder, MAP_FILE, result.map),
        "subtypes": _write_box(folder, "subtypes.npy", result.subtypes),
        "subtype_names": list(result.subtype_names),
        "slice_scores": result.slice_scores,
        "positive": result.positive,
        "warnings": result.warnings,
        "provenance": result.provenance,
        "quantities": result.quantities,
    }
    _write_json(folder / RESULT_FILE, facts)


def replace_segments(
    folder: Path,
    segments: list[FoundSegment],
    total: Found,
    provenance: dict[str, Any],
    quantities: dict[str, Any] | None = None,
) -> None:
    """Write other segments into a result; its map and all else stay as they are."""
    facts = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    facts["segments"] = _write_segments(folder, segments)
    facts |= {"total": asdict(total), "provenance": provenance, "quantities": quantities}
    _write_json(folder / RESULT_FILE, facts)


def read_result(folder: Path) -> CaseResult:
    """The result in a case folder."""
    facts = json.loads((folder / RESULT_FILE).read_text("utf-8"))
    segments = [
        FoundSegment(one["name"], _read_box(folder, one["mask"]), Found(**one["found"]))
        for one in facts["segments"]
    ]
    return CaseResult(
        shape=tuple(facts["shape"]),
        segments=segments,
        total=Found(**facts["total"]),
        map=_read_box(folder, facts["map"]),
        subtypes=_read_box(folder, facts["subtypes"]),
        subtype_names=tuple(facts["subtype_names"]),
        slice_scores=facts["slice_scores"],
        positive=facts["positive"],
        warnings=facts["warnings"],
        provenance=facts["provenance"],
        quantities=facts.get("quantities"),
    )


@dataclass(frozen=True)
class Asked:
    """Masks that something is asked about.

    Attributes:
        masks: by name, as `quantify.measure` takes them.
        ventricles: mask of the ventricles, where there is one.
        map: localization map 0-1, for a report.
    """

    masks: Mapping[str, Box]
    ventricles: Box | None = None
    map: Box | None = None


def write_asked(folder: Path, asked: Asked) -> None:
    """Write masks that something is asked about into a case folder."""
    facts = {
        "masks": [
            {"name": name, "mask": _write_box(folder, f"mask-{number}.npy", box)}
            for number, (name, box) in enumerate(asked.masks.items())
        ],
        "ventricles": _write_box(folder, "ventricles.npy", asked.ventricles),
        "map": _write_box(folder, "asked-map.npy", asked.map),
    }
    _write_json(folder / MASKS_FILE, facts)


def read_asked(folder: Path) -> Asked:
    """What `write_asked` wrote."""
    facts = json.loads((folder / MASKS_FILE).read_text("utf-8"))
    return Asked(
        masks={one["name"]: _read_box(folder, one["mask"]) for one in facts["masks"]},
        ventricles=_read_box(folder, facts["ventricles"]),
        map=_read_box(folder, facts["map"]),
    )


def write_answer(folder: Path, answer: dict[str, Any], overlay: Box | None = None) -> None:
    """Write what the worker answers to a question about a case: plain JSON values, and an overlay on its grid."""
    _write_json(
        folder / ANSWER_FILE, {"answer": answer, "overlay": _write_box(folder, "overlay.npy", overlay)}
    )


def read_answer(folder: Path) -> tuple[dict[str, Any], Box | None]:
    """What `write_answer` wrote."""
    facts = json.loads((folder / ANSWER_FILE).read_text("utf-8"))
    return facts["answer"], _read_box(folder, facts["overlay"])


def _write_segments(folder: Path, segments: list[FoundSegment]) -> list[dict[str, Any]]:
    return [
        {
            "name": segment.name,
            "mask": _write_box(folder, f"segment-{number}.npy", segment.mask),
            "found": asdict(segment.found),
        }
        for number, segment in enumerate(segments)
    ]


def _write_box(folder: Path, name: str, box: Box | None) -> dict[str, Any] | None:
    if box is None:
        return None
    np.save(folder / name, np.ascontiguousarray(box.values))
    return {"file": name, "origin": [int(at) for at in box.origin]}


def _read_box(folder: Path, facts: dict[str, Any] | None) -> Box | None:
    if facts is None:
        return None
    return Box(np.load(folder / facts["file"]), tuple(facts["origin"]))


def _write_json(path: Path, facts: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(facts), "utf-8")
