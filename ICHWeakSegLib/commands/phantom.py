"""`ichweakseg phantom`: a made-up head CT with a bleed whose truth is known."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ICHWeakSegLib.commands.targets import check_apart, check_target
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.phantom import Phantom


CT_ENDINGS = (".nii.gz", ".nii", ".nrrd")


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("phantom", help="make a head CT phantom with a known bleed")
    command.add_argument(
        "output",
        type=os.path.expanduser,
        metavar="OUT",
        help="the CT: .nii.gz, .nii, .nrrd (or .mha without tilt)",
    )
    command.add_argument(
        "--truth",
        type=os.path.expanduser,
        metavar="TRUTH",
        help="the exact mask: .seg.nrrd, .nii.gz, .nii or .nrrd",
    )
    command.add_argument(
        "--subtype",
        default="intraparenchymal",
        choices=("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid", "none"),
        help="default: %(default)s",
    )
    command.add_argument("--volume-ml", type=float, default=20.0, metavar="V", help="default: %(default)s")
    command.add_argument("--tilt", type=float, default=0.0, metavar="DEG", help="gantry tilt, -30 to 30")
    command.add_argument("--spacing", type=float, default=5.0, metavar="Z", help="slice spacing in mm")
    command.add_argument("--seed", type=int, default=0, metavar="N")
    command.set_defaults(run=run)


def make(subtype: str, volume_ml: float, tilt: float = 0.0, spacing: float = 5.0, seed: int = 0) -> Phantom:
    """A phantom; impossible wishes are the user's input errors."""
    from ICHWeakSegLib.phantom import make_phantom

    try:
        return make_phantom(subtype, volume_ml, tilt, spacing, seed)
    except ValueError as problem:
        raise InputError(str(problem)) from problem


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.ct.write import write_volume
    from ICHWeakSegLib.output import MASK_ENDINGS, write_result_mask

    # MetaImage has no place for a sheared grid.
    check_target("OUT", options.output, (*CT_ENDINGS, ".mha") if options.tilt == 0 else CT_ENDINGS)
    if options.truth:
        check_target("--truth", options.truth, MASK_ENDINGS)
    check_apart({"OUT": options.output, "--truth": options.truth})
    phantom = make(options.subtype, options.volume_ml, options.tilt, options.spacing, options.seed)
    write_volume(options.output, phantom.ct.hu, phantom.ct)
    if options.truth:
        write_result_mask(
            options.truth, phantom.truth, phantom.ct, {"truth_of": "phantom", "seed": options.seed}
        )
    slices = phantom.ct.hu.shape[0]
    print(f"{options.output}: {slices} slices, {phantom.volume_ml:.2f} mL of {options.subtype} blood.")
