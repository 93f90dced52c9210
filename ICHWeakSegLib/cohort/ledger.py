"""Who is done, who failed, who is left: the books of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ICHWeakSegLib.cohort.carried_columns import carried_columns
from ICHWeakSegLib.cohort.case import Case, Found
from ICHWeakSegLib.cohort.case_files import write_rows
from ICHWeakSegLib.cohort.find import Progress
from ICHWeakSegLib.cohort.folders import (
    CASES,
    failures,
    finished,
    read_failure,
    read_result,
    remove_failure,
    sweep,
    write_failure,
)
from ICHWeakSegLib.cohort.gallery import write_gallery
from ICHWeakSegLib.cohort.log import Log
from ICHWeakSegLib.cohort.names import Names
from ICHWeakSegLib.cohort.summary_plot import draw_summary
from ICHWeakSegLib.cohort.tables import IDENTIFIERS, write_skipped, write_tables
from ICHWeakSegLib.cohort.work import DONE, STOP, Outcome, Task, Workers
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output.private import Scrubber
from ICHWeakSegLib.version import __version__

SEGMENTING = "segmenting"
# Tables and gallery are written again after so long, but take at most a twentieth of the time.
REFRESH_SECONDS, REFRESH_SHARE = 60.0, 20.0


class Stopped(Exception):
    """The caller asked to stop: finished cases are kept, the same call goes on with the rest."""


class Ledger:
    """The cases of one run: which are done, failed or left, and the tables that tell of it.

    Args:
        output: the batch's folder.
        names: of its cases.
        log: of what happens.
        made: model and version, for titles.

    Attributes:
        new: cases that this run finished.
        results, failures: of all runs in the folder, as of the last `refresh`.
    """

    def __init__(self, output: Path, names: Names, log: Log, made: str) -> None:
        self.output, self.names, self.log, self.made = output, names, log, made
        self.new = 0
        self.results: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self._by_name: dict[str, Case] = {}

    def take_stock(self, found: Found, keep_identifiers: bool) -> None:
        """Give each case its name; write what was left out, and who is who if that is wanted."""
        for case in found.cases:
            name = case.id or self.names.case(case.key)
            if name in self._by_name:
                raise InputError(f"Two cases got the id {name}: give the cases ids of your own in a CSV.")
            self._by_name[name] = case
        ids = {id(case): name for name, case in self._by_name.items()}
        rows = []
        for part in found.skipped:
            place = str(part.source) if keep_identifiers else self.names.other("place", str(part.source))
            copy_of = ids.get(id(part.copy_of), "") or (
                (part.copy_of and self.names.case(part.copy_of.key)) or ""
            )
            rows.append({"files": part.files, "reason": part.reason, "copy_of": copy_of, "place": place})
        write_skipped(self.output, rows)
        mapping = self.output / IDENTIFIERS
        if keep_identifiers:
            write_rows(
                mapping, [self._identity(name, case) for name, case in self._by_name.items()], ["case"]
            )
            mapping.chmod(0o600)
        else:
            # Of an earlier run; it can be had again at any time.
            mapping.unlink(missing_ok=True)
        self.log(
            f"ICHWeakSeg {__version__}, model {self.made}: {len(found.cases)} case(s) found, "
            f"{len(found.skipped)} other file(s) or series left out"
        )

    def _identity(self, name: str, case: Case) -> dict[str, str]:
        return {
            "case": name,
            "patient": self.names.other("patient", case.patient),
            "patient_id": case.patient,
            "source": str(case.source),
            "series": case.series or case.key.partition("series:")[2],
            "study_uid": case.study,
            **{
                name: value
                for name, value in case.columns.items()
                if name not in carried_columns(case.columns)
            },
        }

    def todo(self, retry_failed: bool) -> list[Task]:
        """Tasks for the cases that are neither done nor failed; a CT that has changed is done again."""
        tasks, done, changed = [], 0, 0
        for name, case in self._by_name.items():
            print_ = self.names.fingerprint(case.fingerprint)

            def same(record: Mapping[str, Any], print_: str = print_) -> bool:
                # Content that is not known without reading it all counts as the same.
                return not print_ or record.get("input", "") == print_

            result, failure = read_result(self.output, name), read_failure(self.output, name)
            if result is not None and same(result):
                done += 1
                continue
            if failure is not None and same(failure) and not retry_failed:
                continue
            changed += result is not None
            task = case.task(
                name,
                # One without a result is what nobody but a user can have left.
                replace=(self.output / CASES / name).exists(),
                patient=self.names.other("patient", case.patient),
                study=self.names.other("study", case.study),
                fingerprint=print_,
            )
            tasks.append({**task, "columns": carried_columns(case.columns)})
        self.log(f"{done} case(s) done already, {len(tasks)} to do")
        if changed:
            self.log(f"{changed} case(s) have another CT than before and are done again")
        return tasks

    def work(
        self,
        team: Workers,
        todo: list[Task],
        progress: Progress | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        """Have the tasks done; whatever ends it, the tables tell of what is finished."""

        def tick() -> None:
            if cancelled is not None and cancelled():
                raise Stopped

        tasks = {task["id"]: task for task in todo}
        start = refreshed = time.monotonic()
        took = 0.0
        try:
            if progress is not None:
                progress(SEGMENTING, 0, len(todo))
            with closing(team.run(todo, tick)) as outcomes:
                for number, outcome in enumerate(outcomes, start=1):
                    self._note(outcome, tasks[outcome.id])
                    if progress is not None:
                        progress(SEGMENTING, number, len(todo))
                    now = time.monotonic()
                    if now - refreshed > max(REFRESH_SECONDS, REFRESH_SHARE * took):
                        self.refresh()
                        refreshed = time.monotonic()
                        took = refreshed - now
        except BaseException as problem:
            kind = "stopped" if isinstance(problem, (Stopped, KeyboardInterrupt)) else "ended"
            sweep(self.output / CASES)
            self.log(f"{kind} after {self.new} new case(s): {self._reason(problem)}")
            self._refresh_quietly()
            raise
        # What workers left that were lost on the way.
        sweep(self.output / CASES)
        minutes = (time.monotonic() - start) / 60
        self.log(f"{self.new} new case(s) in {minutes:.1f} minutes")

    def _note(self, outcome: Outcome, task: Task) -> None:
        """Keep how a case ended.

        Raises:
            InputError: it is something that would end every case.
        """
        name = outcome.id
        if outcome.status == STOP:
            raise InputError(
                f"{outcome.sentence} All finished cases in {self.output} are kept: give the same command again "
                "when that is mended."
            )
        if outcome.status == DONE:
            if not (self.output / CASES / name / "result.json").is_file():
                raise InputError(
                    f"A worker wrote a case to {self.output} that cannot be seen from here: use a folder that all "
                    "workers share."
                )
            remove_failure(self.output, name)
            self.new += 1
            self.log(f"{name} done in {outcome.seconds:.1f} s")
            return
        write_failure(
            self.output,
            name,
            {
                "case": name,
                "sentence": outcome.sentence,
                "patient": task["patient"],
                "columns": task["columns"],
                "input": task["fingerprint"],
            },
        )
        self.log(f"{name} failed: {outcome.sentence}")

    def refresh(self) -> None:
        """Write tables, gallery and summary of all that is in the output folder."""
        results = {result["case"]: result for result in finished(self.output)}
        self.failures = []
        for part in failures(self.output):
            # A result of what the CT was before is void; one of the same CT was finished after all.
            if results.get(part["case"], {}).get("input") == part["input"]:
                continue
            results.pop(part["case"], None)
            self.failures.append(part)
        self.results = list(results.values())
        write_tables(self.output, self.results, self.failures)
        made = f"model {self.made}, ICHWeakSeg {__version__}"
        write_gallery(self.output, self.results, self.failures, made)
        draw_summary(self.output / "summary.png", self.results, len(self.failures), made)

    def _reason(self, problem: BaseException) -> str:
        if isinstance(problem, InputError):
            return Scrubber("the output folder", [self.output])(str(problem))
        return type(problem).__name__

    def _refresh_quietly(self) -> None:
        """As `refresh`; on a full disk the older ones stay."""
        try:
            self.refresh()
        except (InputError, OSError) as problem:
            self.log(f"the tables could not be written again ({type(problem).__name__})")
