"""What a segment of hemorrhage is called, coded and coloured in Slicer."""

from __future__ import annotations

from dataclasses import dataclass

TERMINOLOGY_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
ANATOMY_CONTEXT = "Anatomic codes - DICOM master list"
# Codes as in Slicer's own terminology files, so that its selector shows them.
CATEGORY = ("SCT", "49755003", "Morphologically Altered Structure")
HEMORRHAGE = ("SCT", "50960005", "Hemorrhage")
BRAIN = ("SCT", "12738006", "Brain")
DURA = ("SCT", "18545000", "Dura mater")


@dataclass(frozen=True)
class SegmentStyle:
    """A segment as Slicer shows it.

    Attributes:
        id: unique within the segmentation.
        name: shown to the user.
        color: red, green, blue of 0-1.
        region: anatomic region as (scheme, code, meaning).
    """

    id: str
    name: str
    color: tuple[float, float, float]
    region: tuple[str, str, str]

    @property
    def terminology(self) -> dict[str, object]:
        """Terminology in slicerio's form."""
        return {
            "contextName": TERMINOLOGY_CONTEXT,
            "category": list(CATEGORY),
            "type": list(HEMORRHAGE),
            "anatomicContextName": ANATOMY_CONTEXT,
            "anatomicRegion": list(self.region),
        }


HEMORRHAGE_STYLE = SegmentStyle("hemorrhage", "Intracranial hemorrhage", (0.90, 0.16, 0.10), BRAIN)

# Colours that stay apart for colour-blind readers (after Okabe and Ito).
SUBTYPE_STYLES = {
    "EDH": SegmentStyle("EDH", "EDH", (0.90, 0.62, 0.00), DURA),
    "IPH": SegmentStyle("IPH", "IPH", (0.84, 0.37, 0.00), BRAIN),
    "IVH": SegmentStyle("IVH", "IVH", (0.80, 0.47, 0.65), ("SCT", "35764002", "Brain ventricle")),
    "SAH": SegmentStyle("SAH", "SAH", (0.34, 0.71, 0.91), ("SCT", "35951006", "Subarachnoid space")),
    "SDH": SegmentStyle("SDH", "SDH", (0.94, 0.89, 0.26), DURA),
}


def segment_style(name: str) -> SegmentStyle:
    """Style of a class name; an unknown class gets its own name and the colour of hemorrhage."""
    if name.lower() in ("hemorrhage", "any", HEMORRHAGE_STYLE.name.lower()):
        return HEMORRHAGE_STYLE
    known = SUBTYPE_STYLES.get(name.upper())
    return known or SegmentStyle(name, name, HEMORRHAGE_STYLE.color, BRAIN)
