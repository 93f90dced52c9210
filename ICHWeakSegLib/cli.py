"""The command line: `ichweakseg ...`, also `python -m ICHWeakSegLib ...`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import traceback
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

# Of an error's own text; the log has all of it.
MOST_WORDS = 300


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
    """Run a command; ends the process.

    Its status is 0, 2 (input that cannot be used), 130 (stopped by the user), or 1: an error that nobody foresaw,
    whose traceback is in a log file that the sentence names.
    """
    # A path that is no UTF-8 must not end a command that prints it.
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = parser().parse_args(arguments)
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
        if not problem.name or problem.name.startswith("ICHWeakSegLib"):
            sys.exit(_unforeseen(problem))
        sys.exit(
            _fail(f"the Python package {problem.name} is missing: install ICHWeakSeg with its extras.", 2)
        )
    except Exception as problem:
        sys.exit(_unforeseen(problem))


def _unforeseen(problem: Exception) -> int:
    """Keep the traceback in a file that its owner alone may read: it can name paths."""
    words = " ".join(f"{type(problem).__name__}: {problem}".split())
    if len(words) > MOST_WORDS:
        words = words[:MOST_WORDS] + "..."
    text = "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
    head = f"ICHWeakSeg {__version__}, Python {platform.python_version()}, {platform.platform()}"
    try:
        descriptor, path = tempfile.mkstemp(".log", "ichweakseg-error-")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{head}\n\n{text}")
    except OSError as trouble:
        frame = traceback.extract_tb(problem.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}, line {frame.lineno}"
        kept = f"report it with its place ({where}), since no log could be written ({trouble.strerror})"
    else:
        kept = f"report it with the log {path} (look first whether it names a patient)"
    return _fail(f"an error that was not foreseen ended the command ({words}): {kept}.", 1)


def _fail(sentence: str, status: int) -> int:
    print(f"ichweakseg: {sentence}", file=sys.stderr)
    return status
