"""A made-up cohort: phantom CTs with blood masks, admission fields, outcomes from a stated model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.prognosis.clinical import FIELDS
from ICHWeakSegLib.prognosis.simulated_outcome import (
    RULE,
    OutcomeModel,
    draw_clinical,
    draw_mrs,
    draw_volume_ml,
    lose_fields,
)
from ICHWeakSegLib.quantify.table import write_rows
from ICHWeakSegLib.version import __version__

CSV_FILE, FACTS_FILE, TRUTH_FILE = "cohort.csv", "simulation.json", "truth.json"
NOTICE = "Heads, patients and outcomes are made up: this tests the machinery and says nothing about medicine."
# Patients that share a head: making one takes longer than painting a bleed into it.
HEAD_EACH = 6
IVH_RATE = 0.35
DEEP_MM = 30.0
# Beside the noise that a shared head has of its own, so that no two scans are alike.
NOISE_HU = 2.0
_COLUMNS = (
    *("case", "patient", "ct", "mask"),
    *(field.name for field in FIELDS),
    *("ivh", "location", "cognitive_impairment", "mrs"),
)


@dataclass(frozen=True)
class Simulation:
    """How a cohort is made; the same values give the same files.

    Attributes:
        patients: how many.
        seed: of everything.
        missing: share of the admission fields that are left blank, 0 to 0.9, completely at random.
        size: rows and columns.
        pixel_mm, spacing_mm: of the scans.
        model: that outcomes are drawn from.

    Raises:
        InputError: a value is out of its range.
    """

    patients: int = 200
    seed: int = 0
    missing: float = 0.1
    size: int = 96
    pixel_mm: float = 2.4
    spacing_mm: float = 8.0
    model: OutcomeModel = OutcomeModel()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if not 1 <= self.patients <= 100_000:
            raise InputError(f"A cohort has 1 to 100000 patients, not {self.patients}.")
        if self.seed < 0:
            raise InputError(f"The seed is a whole number from 0 on, not {self.seed}.")
        if not 0 <= self.missing <= 0.9:
            raise InputError(f"The share of missing fields lies between 0 and 0.9, not {self.missing}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "patients": self.patients,
            "seed": self.seed,
            "missing": self.missing,
            "size": self.size,
            "pixel_mm": self.pixel_mm,
            "spacing_mm": self.spacing_mm,
            "outcome_model": self.model.to_dict(),
            "outcome": RULE.to_dict(),
            "ivh_rate": IVH_RATE,
            "location": f"deep where the bleed lies {DEEP_MM:g} mm or more below the inner table, else lobar",
            "software": f"ICHWeakSeg {__version__}",
            "notice": NOTICE,
        }


def simulate_cohort(
    folder: str | Path, simulation: Simulation, progress: Callable[[str, int, int], None] | None = None
) -> Path:
    """Write `cohort.csv`, `ct/`, `masks/`, `simulation.json` (the stated model) and `truth.json`.

    `truth.json` holds the true probability and volume of each case; no command reads it but the evaluation, which
    shows the best figure possible. A run that was stopped goes on where it was.

    Args:
        folder: new, or left by the same simulation.
        simulation: what to make.
        progress: called as (stage, done, total).

    Returns:
        The CSV.

    Raises:
        InputError: the folder holds something else.
    """
    folder = Path(folder).expanduser()
    _begin(folder, simulation)
    rows, truth = [], {}
    for number in range(simulation.patients):
        if progress:
            progress("simulating", number, simulation.patients)
        row, facts = _patient(folder, simulation, number)
        rows.append(row)
        truth[row["case"]] = facts
    with atomic_path(folder / TRUTH_FILE) as temporary:
        content = {"poor_outcome": RULE.words, "cases": truth, "notice": NOTICE}
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    # The table comes last: where it is, all is.
    return write_rows(folder / CSV_FILE, rows, _COLUMNS)


def read_truth_probabilities(csv_file: str | Path) -> dict[str, float] | None:
    """True probability of a poor outcome by case, from `truth.json` beside a simulated cohort; None without it."""
    path = Path(csv_file).parent / TRUTH_FILE
    if not path.is_file() or not (path.parent / FACTS_FILE).is_file():
        return None
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return {name: float(facts["true_probability"]) for name, facts in cases.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise InputError(f"{path} is damaged ({problem}): simulate the cohort again.") from problem


def _begin(folder: Path, simulation: Simulation) -> None:
    facts, text = folder / FACTS_FILE, json.dumps(simulation.to_dict(), indent=1) + "\n"
    if facts.is_file():
        if facts.read_text(encoding="utf-8") != text:
            raise InputError(f"{folder} holds another simulated cohort: choose a new folder.")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and is no simulated cohort: choose a new folder.")
    with atomic_path(facts) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _patient(folder: Path, simulation: Simulation, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Row of the table and what is kept apart; the files are made where they are missing."""
    name = f"sim{simulation.seed}-{number:04d}"
    ct, mask = Path("ct") / f"{name}.nii.gz", Path("masks") / f"{name}.seg.nrrd"
    kept = folder / "cases" / f"{name}.json"
    if kept.is_file() and (folder / ct).is_file() and (folder / mask).is_file():
        blood = json.loads(kept.read_text(encoding="utf-8"))
    else:
        blood = _scan(folder, simulation, number, ct, mask)
        with atomic_path(kept) as temporary:
            temporary.write_text(json.dumps(blood), encoding="utf-8")
    rng = np.random.default_rng([simulation.seed, number, 1])
    volume, ivh = blood["iph_ml"], blood["ivh_ml"] > 0
    clinical = draw_clinical(rng, volume)
    probability = simulation.model.probability(volume, clinical.gcs, clinical.age, ivh)
    mrs = draw_mrs(rng, probability)
    shown = lose_fields(rng, clinical, simulation.missing).to_dict()
    row = {
        "case": name,
        "patient": name,
        "ct": ct.as_posix(),
        "mask": mask.as_posix(),
        **{key: "" if value is None else value for key, value in shown.items()},
        "ivh": "yes" if ivh else "no",
        "location": blood["location"],
        "cognitive_impairment": "yes" if rng.random() < 0.15 else "no",
        "mrs": mrs,
    }
    truth = {
        "true_probability": probability,
        **blood,
        **{f"true_{k}": v for k, v in clinical.to_dict().items()},
    }
    return row, truth


def _scan(folder: Path, simulation: Simulation, number: int, ct: Path, mask: Path) -> dict[str, Any]:
    """Write CT and mask; gives the volumes of blood in mL and where it lies."""
    from ICHWeakSegLib.ct.write import write_volume
    from ICHWeakSegLib.output import write_result_mask

    head, brain, place = _head(simulation, number // HEAD_EACH)
    spacing = place.full_spacing_mm
    rng = np.random.default_rng([simulation.seed, number, 0])
    wanted = draw_volume_ml(rng)
    hu, parenchyma = _paint(
        head.hu.astype(np.float32), brain, spacing, "intraparenchymal", wanted, rng, place
    )
    ventricles = np.zeros_like(parenchyma)
    if rng.random() < IVH_RATE:
        hu, ventricles = _paint(hu, brain, spacing, "intraventricular", float(rng.uniform(4, 12)), rng, place)
        ventricles &= ~parenchyma
    depth = place.upsample(place.depth, tuple(slice(0, count) for count in hu.shape), 1)
    location = "deep" if depth[parenchyma].mean() >= DEEP_MM else "lobar"
    hu = hu + NOISE_HU * rng.standard_normal(hu.shape, dtype=np.float32)
    if rng.random() < 0.5:
        # The mirrored head is another patient's.
        hu, parenchyma, ventricles = (array[..., ::-1] for array in (hu, parenchyma, ventricles))
    scan = CT(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), head.ijk_to_ras, source=ct.name)
    masks = {"IPH": np.ascontiguousarray(parenchyma, np.uint8)}
    if ventricles.any():
        masks["IVH"] = np.ascontiguousarray(ventricles, np.uint8)
    (folder / ct).parent.mkdir(parents=True, exist_ok=True)
    write_volume(folder / ct, scan.hu, scan)
    write_result_mask(folder / mask, masks, scan, {"truth_of": "phantom", "seed": simulation.seed})
    return {
        "iph_ml": scan.volume_ml(masks["IPH"]),
        "ivh_ml": scan.volume_ml(masks["IVH"]) if "IVH" in masks else 0.0,
        "location": location,
    }


_heads: dict[tuple, tuple] = {}


def _head(simulation: Simulation, number: int) -> tuple:
    """A head without blood, its brain and its anatomy; the last one is kept."""
    from ICHWeakSegLib.phantom import find_anatomy, make_phantom

    key = (simulation.seed, number, simulation.size, simulation.pixel_mm, simulation.spacing_mm)
    if key not in _heads:
        seed = int(np.random.default_rng([simulation.seed, number, 2]).integers(2**31))
        made = make_phantom(
            "none",
            spacing_mm=simulation.spacing_mm,
            seed=seed,
            size=simulation.size,
            pixel_mm=simulation.pixel_mm,
        )
        spacing = (simulation.spacing_mm, simulation.pixel_mm, simulation.pixel_mm)
        _heads.clear()
        _heads[key] = made.ct, made.brain, find_anatomy(made.ct.hu.astype(np.float32), made.brain, spacing)
    return _heads[key]


def _paint(hu, brain, spacing, subtype, wanted, rng, place) -> tuple[np.ndarray, np.ndarray]:
    """HU and mask with one more bleed; smaller ones are tried where there is no room."""
    from ICHWeakSegLib.phantom import paint_lesion

    for share in (1.0, 1.0, 0.8, 0.6, 0.4, 0.2):
        try:
            painted = paint_lesion(hu, brain, spacing, subtype, wanted * share, rng, anatomy=place)
        except ValueError:
            continue
        return painted.hu, painted.mask
    raise InputError(
        f"No room for {wanted:.0f} mL of {subtype} blood in a simulated head: take another seed."
    )
