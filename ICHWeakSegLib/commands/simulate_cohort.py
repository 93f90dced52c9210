"""`ichweakseg simulate-cohort`: made-up patients whose outcome follows a stated model."""

from __future__ import annotations

import argparse
import os

from ICHWeakSegLib.commands.progress import Bar


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "simulate-cohort",
        help="make a cohort of phantoms with outcomes, to try prognosis",
        description="Phantom CTs with blood masks, admission fields and outcomes drawn from a stated logistic "
        "model. It tests the machinery and says nothing about medicine.",
    )
    command.add_argument("output", type=os.path.expanduser, metavar="DIR", help="a new folder")
    command.add_argument("--patients", type=int, default=200, metavar="N", help="default: %(default)s")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    command.add_argument(
        "--missing",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="of the admission fields; default: %(default)s",
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.prognosis.simulated_cohort import NOTICE, Simulation, simulate_cohort

    simulation = Simulation(options.patients, options.seed, options.missing)
    with Bar(options.quiet) as bar:
        table = simulate_cohort(options.output, simulation, bar)
    if not options.quiet:
        print(f"{table}: {options.patients} patients. {NOTICE}")
