"""The command line: `ichweakseg ...`, also `python -m ICHWeakSegLib ...`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ICHWeakSegLib.commands import (
    batch,
    demo,
    dicom_seg,
    evaluate,
    follow_up,
    models,
    phantom,
    prognosis,
    pseudo_masks,
    quantify,
    report,
    score,
    segment,
    simulate_cohort,
    study,
    train,
)
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.version import __version__


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="ichweakseg",
        description="Segment intracranial hemorrhage on non-contrast head CT. For research use only.",
    )
    top.add_argument("--version", action="version", version=f"ICHWeakSeg {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        segment,
        batch,
        quantify,
        follow_up,
        score,
        prognosis,
        report,
        dicom_seg,
        models,
        train,
        pseudo_masks,
        evaluate,
        study,
        phantom,
        simulate_cohort,
        demo,
    ):
        command.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; ends the process with 0, 2 (input that cannot be used) or 130 (stopped by the user)."""
    # A path that is no UTF-8 must not end a command that prints it.
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the pipe has gone: nobody is left to tell. Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except InputError as problem:
        sys.exit(_fail(str(problem), 2))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; no output was written by the step that was under way.", 130))
    except MemoryError as problem:
        sys.exit(
            _fail(f"there is not enough memory: {problem or 'close other programs or use a smaller CT'}.", 2)
        )
    except ModuleNotFoundError as problem:
        if problem.name and problem.name.startswith("ICHWeakSegLib"):
            raise
        sys.exit(
            _fail(f"the Python package {problem.name} is missing: install ICHWeakSeg with its extras.", 2)
        )


def _fail(sentence: str, status: int) -> int:
    print(f"ichweakseg: {sentence}", file=sys.stderr)
    return status
