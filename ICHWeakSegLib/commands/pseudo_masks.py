"""`ichweakseg pseudo-masks`: what a segmentation network would learn from, on the CT's own grid."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.targets import check_apart, check_target
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.patches import WHOLE, on_native_grid
from ICHWeakSegLib.models import MapSettings
from ICHWeakSegLib.refine import KMeansOptions
from ICHWeakSegLib.segment import segment

if TYPE_CHECKING:
    from ICHWeakSegLib.ct import AxialGrid
    from ICHWeakSegLib.models import Model

CAMS = ("grad-cam", "cam")
USUAL = KMeansOptions()


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "pseudo-masks",
        help="pseudo-masks of a CT by the sequence model, for inspection and for training",
        description="Write the pseudo-masks of a CT: class activation map, threshold, K-means clusters of "
        "brightness. For research use only.",
    )
    command.add_argument("input", metavar="CT", help="NIfTI, NRRD, MHA, DICOM file, folder or zip")
    command.add_argument("--model", required=True, metavar="NAME|DIR", help="a sequence model")
    command.add_argument(
        "-o",
        "--output",
        required=True,
        type=os.path.expanduser,
        metavar="OUT",
        help=".seg.nrrd (Slicer segmentation), or .nii.gz or .nrrd (label map of 0 and 1)",
    )
    command.add_argument(
        "--labels",
        type=os.path.expanduser,
        metavar="CSV",
        help="columns slice (0: the lowest axial one) and any: they decide which slices are positive",
    )
    command.add_argument(
        "--probability",
        type=float,
        metavar="P",
        help="from which on a slice is positive; default: the model's",
    )
    command.add_argument("--method", choices=CAMS, default="grad-cam", help="default: %(default)s")
    command.add_argument("--threshold", type=float, default=0.7, metavar="X", help="of the map; default: 0.7")
    command.add_argument(
        "--clusters", type=int, default=USUAL.clusters, metavar="K", help="default: %(default)s"
    )
    command.add_argument(
        "--brightest-hu",
        type=float,
        default=USUAL.brightest_hu,
        metavar="HU",
        help="clusters from this mean on are bone; default: %(default)s",
    )
    command.add_argument(
        "--dilation", type=int, default=USUAL.dilation, metavar="PIXELS", help="default: %(default)s"
    )
    command.add_argument("--dilations", type=int, default=USUAL.dilations, metavar="N", help="default: 2")
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--series", metavar="UID", help="DICOM series, where the input holds several")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    how = check_options(options)
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.models import load_model
    from ICHWeakSegLib.output import write_result_mask

    labels = read_labels(Path(options.labels)) if options.labels else None
    with Bar(options.quiet) as bar:
        bar("loading the model", 0, 1)
        model = with_pseudo_masks(load_model(options.model), options, how)
        bar("reading", 0, 1)
        ct = read_ct(options.input, series=options.series)
        result = segment(ct, model, device=options.device, threads=options.threads, progress=bar, gate=labels)
        mask = result.mask
        provenance = result.provenance
        if labels is not None:
            # Thin slices share a map with their neighbours, not a label.
            mask = mask & on_slices(result.grid, labels)
            provenance = {**provenance, "slice_threshold": "labels"}
        bar("writing", 0, 1)
        write_result_mask(options.output, mask, ct, provenance)
    positive = result.positive if labels is None else labels
    summary = {
        "volume_ml": round(ct.volume_ml(mask), 3),
        "slices": len(positive),
        "positive_slices": np.flatnonzero(positive).tolist(),
        "warnings": result.warnings,
        "provenance": provenance,
        "file": options.output,
        "notice": "For research use only.",
    }
    if options.json:
        print(json.dumps(summary, indent=2, allow_nan=False))
    elif not options.quiet:
        for sentence in result.warnings:
            print(f"Warning: {sentence}", file=sys.stderr)
        print(
            f"{summary['volume_ml']:.1f} mL of pseudo-masks on {len(summary['positive_slices'])} positive of "
            f"{len(positive)} slices. For research use only.\n  {options.output}"
        )


def with_pseudo_masks(model: Model, options: argparse.Namespace, how: KMeansOptions) -> Model:
    """The model with its card's map settings replaced by the published rule.

    Raises:
        InputError: it is no sequence model.
    """
    card = model.card
    if card.architecture.kind != "sequence-classifier":
        raise InputError(
            f"{card.name} is no sequence model: pseudo-masks need one of `ichweakseg train sequence`."
        )
    settings = MapSettings(options.method, options.threshold, "kmeans", asdict(how))
    operating = card.operating
    if options.probability is not None:
        operating = replace(operating, probability=options.probability)
    # The pseudo-mask alone, also where a segmentation network stands beside it.
    return replace(
        model, card=replace(card, map=settings, operating=operating, segmenter=None), segmenter=None
    )


def on_slices(grid: AxialGrid, positive: np.ndarray) -> np.ndarray:
    """The voxels of positive axial slices, uint8, shape (K, J, I) on the CT's own grid."""
    whole = np.ones(grid.shape[1:], bool)
    patches = ((int(s), WHOLE, whole) for s in np.flatnonzero(positive))
    return on_native_grid(grid, patches, np.dtype(bool)).view(np.uint8)


def check_options(options: argparse.Namespace) -> KMeansOptions:
    """Refuse what makes no sense, before the long work.

    Raises:
        InputError: the first one found.
    """
    from ICHWeakSegLib.output import MASK_ENDINGS

    check_target("--output", options.output, MASK_ENDINGS)
    check_apart({"--output": options.output}, options.input)
    for flag, value in (("--threshold", options.threshold), ("--probability", options.probability)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{flag} lies between 0 and 1; {value:g} does not.")
    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads needs at least 1, not {options.threads}.")
    try:
        return KMeansOptions(
            clusters=options.clusters,
            brightest_hu=options.brightest_hu,
            dilation=options.dilation,
            dilations=options.dilations,
        )
    except ValueError as problem:
        raise InputError(f"The clustering cannot be done so: {problem}") from problem


def read_labels(path: Path) -> np.ndarray:
    """Labels (S,), bool, from a CSV of `slice` and `any`.

    Raises:
        InputError: no such file or columns, a slice missing or named twice, or a label that is not 0 or 1.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                {key.strip().lower(): (value or "").strip() for key, value in row.items() if key}
                for row in csv.DictReader(file)
            ]
    except OSError as problem:
        raise InputError(f"The label file {path} cannot be read: {problem.strerror}.") from problem
    except (UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"The label file {path} is no CSV text in UTF-8: save it as such.") from problem
    if not rows or not {"slice", "any"} <= set(rows[0]):
        raise InputError(f"The label file {path} needs the columns slice and any, and a row a slice.")
    labels: dict[int, bool] = {}
    for line, row in enumerate(rows, start=2):
        if not row["slice"].isdecimal() or int(row["slice"]) in labels:
            raise InputError(
                f"{path}, line {line}: {row['slice']!r} is no number of a slice, or one named before."
            )
        if row["any"] not in ("0", "1", "0.0", "1.0"):
            raise InputError(f"{path}, line {line}: a label is 0 or 1, not {row['any']!r}.")
        labels[int(row["slice"])] = float(row["any"]) == 1
    if sorted(labels) != list(range(len(labels))):
        raise InputError(f"{path}: slices must be numbered 0 to {len(labels) - 1}, each once.")
    return np.array([labels[number] for number in range(len(labels))])
