"""CTs with painted bleeds of exact mask, for `ichweakseg evaluate`: from a cohort's CTs without blood.

Every CT without blood gets one bleed, so that each patient stays in his own fold of a cross-validated run;
subtypes and volumes take turns. Writes CTs, masks and `cases.csv`.

    python Testing/benchmarks/make_painted_cases.py ../shared/data/ct-ich OUT --cases 20
    ichweakseg evaluate OUT/cases.csv --folds-run RUN --output MEASURED
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct import CT, AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.write import write_volume
from ICHWeakSegLib.output import write_label_map
from ICHWeakSegLib.phantom import SUBTYPES, paint_lesion
from ICHWeakSegLib.training.cases import Case, read_cohort
from ICHWeakSegLib.training.painting import SHORT

VOLUMES_ML = (5.0, 30.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cases", type=int, default=20, metavar="N", help="at most; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    options.output.mkdir(parents=True, exist_ok=True)
    wanted = itertools.cycle([(subtype, ml) for ml in VOLUMES_ML for subtype in SUBTYPES])
    rows: list[dict[str, str]] = []
    rng = np.random.default_rng(options.seed)
    empty = [case for case in read_cohort(options.data) if not (case.labels[:, 0] != 0).any()]
    for case in (empty[place] for place in rng.permutation(len(empty))):
        if len(rows) == options.cases:
            break
        row = paint(case, *next(wanted), options.output, rng)
        if row:
            rows.append(row)
            print(*row.values(), flush=True)
    with open(options.output / "cases.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def paint(
    case: Case, subtype: str, volume_ml: float, folder: Path, rng: np.random.Generator
) -> dict[str, str] | None:
    """Write a CT with one bleed and its mask; None where this head has no room for it."""
    ct = case.read()
    grid = AxialGrid(ct)
    spacing = (float(np.median(np.diff(grid.positions_mm))), *grid.spacing_mm)
    brain = BrainMask(grid).to_array()
    try:
        painted = paint_lesion(grid.hu.astype(np.float32), brain, spacing, subtype, volume_ml, rng)
    except ValueError:
        return None
    name = f"{case.name}-{SHORT[subtype]}-{volume_ml:g}mL"
    hu = grid.to_native(np.rint(painted.hu).astype(np.int16))
    bleeding = CT(np.ascontiguousarray(hu), ct.ijk_to_ras)
    write_volume(folder / f"{name}.nii.gz", bleeding.hu, bleeding, dtype=np.int16)
    mask = np.ascontiguousarray(grid.to_native(painted.mask.astype(np.uint8)))
    write_label_map(folder / f"{name}-mask.nii.gz", mask, bleeding)
    return {
        "case": name,
        "patient": case.patient,
        "ct": f"{name}.nii.gz",
        "mask": f"{name}-mask.nii.gz",
        "subtype": SHORT[subtype],
    }


if __name__ == "__main__":
    main()
