"""What is measured of a lesion and of all lesions together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

# Digits behind the point by the unit at the end of a name.
_DIGITS = {"ml": 3, "mm": 2, "hu": 1}


@dataclass(frozen=True)
class Lesion:
    """One lesion: a 26-connected component of all blood together. `docs/quantification.md` defines each value.

    Attributes:
        number: from 1, the largest first.
        subtype: EDH, IPH, IVH, SAH, SDH, the one with most of its volume; None where none are known.
        volume_ml: by the CT's true geometry.
        abc2_ml, a_mm, b_mm, c_mm, c_slices: ABC/2 (Kothari 1996), C weighted by area.
        abc2_unweighted_ml, height_mm: ABC/2 with all slices as C, and that C.
        diameter_mm: largest diameter on an axial slice.
        mean_hu, sd_hu, p5_hu, p95_hu: of its voxels.
        centroid_r_mm, centroid_a_mm, centroid_s_mm: in RAS.
        side: left, right, both or midline; None where the midline was not found.
        touches_skull: within 1.5 mm of the inner table on a slice; None without a brain mask.
        touches_ventricles: within 1.5 mm of a ventricle on a slice; None without a mask of them.
        slices, first_slice, last_slice: axial slices, counted from 0 at the lowest of the CT.
        sphericity: 1 for a ball; None on fewer than 3 slices.
        irregularity: perimeter squared by 4 pi times area on the slice with the largest area; 1 for a disc.
        subtypes_ml: volume of each subtype in the lesion; empty where none are known.
    """

    number: int
    subtype: str | None
    volume_ml: float
    abc2_ml: float
    a_mm: float
    b_mm: float
    c_mm: float
    c_slices: float
    abc2_unweighted_ml: float
    height_mm: float
    diameter_mm: float
    mean_hu: float
    sd_hu: float
    p5_hu: float
    p95_hu: float
    centroid_r_mm: float
    centroid_a_mm: float
    centroid_s_mm: float
    side: str | None
    touches_skull: bool | None
    touches_ventricles: bool | None
    slices: int
    first_slice: int
    last_slice: int
    sphericity: float | None
    irregularity: float | None
    subtypes_ml: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Plain values, rounded, for a table: `lesion`, then the attributes, then `EDH_ml`, ... if known."""
        return {"lesion": self.number, **_flat(self)}


@dataclass(frozen=True)
class Totals:
    """All lesions together.

    Attributes:
        volume_ml: of all blood.
        lesions: how many.
        slices, first_slice, last_slice: axial slices with blood; the latter two None without blood.
        largest_ml: volume of the largest lesion.
        left_ml, right_ml: on either side of the midline; None where it was not found.
        mean_hu, sd_hu, p5_hu, p95_hu: of all voxels with blood; None without blood.
        subtypes_ml: volume of each subtype; empty where none are known.
    """

    volume_ml: float
    lesions: int
    slices: int
    first_slice: int | None
    last_slice: int | None
    largest_ml: float
    left_ml: float | None
    right_ml: float | None
    mean_hu: float | None
    sd_hu: float | None
    p5_hu: float | None
    p95_hu: float | None
    subtypes_ml: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return _flat(self)


@dataclass(frozen=True)
class Quantities:
    """Everything measured of a CT and its masks.

    Attributes:
        lesions: the largest first.
        total: all of them together.
        warnings: sentences about what could not be measured.
    """

    lesions: tuple[Lesion, ...]
    total: Totals
    warnings: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One row a lesion, plain JSON values; the same columns in every row."""
        return [lesion.row() for lesion in self.lesions]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: `total`, `lesions`, `warnings`."""
        return {"total": self.total.row(), "lesions": self.rows(), "warnings": list(self.warnings)}


def columns(subtypes: tuple[str, ...] = ()) -> list[str]:
    """Names of a row's columns, also where there is no lesion.

    Args:
        subtypes: those of the masks, in their order.
    """
    names = [name for name in Lesion.__dataclass_fields__ if name not in ("number", "subtypes_ml")]
    return ["lesion", *names, *(f"{subtype}_ml" for subtype in subtypes)]


def _flat(measured: Lesion | Totals) -> dict[str, Any]:
    values = asdict(measured)
    values.pop("number", None)
    by_subtype = values.pop("subtypes_ml")
    values |= {f"{name}_ml": volume for name, volume in by_subtype.items()}
    return {
        name: round(value, _DIGITS.get(name.rsplit("_", 1)[-1], 3)) if isinstance(value, float) else value
        for name, value in values.items()
    }
