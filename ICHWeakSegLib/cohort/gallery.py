"""The quality-control gallery of a batch: one page, from a file, without a network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ICHWeakSegLib.cohort.case_files import LESIONS, PREVIEW, SEGMENTATION, SLICES, THUMBNAIL
from ICHWeakSegLib.cohort.flags import FLAGS
from ICHWeakSegLib.cohort.folders import CASES, RESULT_FILE
from ICHWeakSegLib.cohort.gallery_page import PAGE
from ICHWeakSegLib.ct.atomic import atomic_path

GALLERY = "index.html"


def write_gallery(
    output: Path,
    results: Sequence[Mapping[str, Any]],
    failures: Sequence[Mapping[str, Any]],
    made: str,
) -> None:
    """Write `index.html`: a row a case with thumbnail, numbers and flags; sortable, filtered by flag or text.

    Rows are made as they scroll into view, and thumbnails are files of their own beside the page, so that it stays
    quick with thousands of cases.

    Args:
        output: the batch's folder.
        results: of finished cases.
        failures: of failed ones.
        made: model, version and software, for the foot.
    """
    rows = [_row(result) for result in results] + [_failed(failure) for failure in failures]
    data = {
        "rows": rows,
        "flags": FLAGS,
        "cases": CASES,
        "thumbnail": THUMBNAIL,
        "preview": PREVIEW,
        "files": {
            "segmentation": SEGMENTATION,
            "slices": SLICES,
            "lesions": LESIONS,
            "result": RESULT_FILE,
        },
    }
    # Within a script element, "</script>" or "<!--" would end or hide it.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    page = (
        PAGE.replace("@MADE@", html.escape(made)).replace("@COUNT@", str(len(rows))).replace("@DATA@", text)
    )
    with atomic_path(output / GALLERY) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": result["case"],
        "folder": quote(result["case"]),
        "patient": result["patient"],
        "volume": result["volume_ml"],
        "lesions": len(result["lesions"]),
        "blood": len(result["slices_with_blood"]),
        "slices": result["slices"],
        "probability": result["highest_probability"],
        "flags": result["flags"],
        "text": " ".join(result["warnings"]),
    }


def _failed(failure: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": failure["case"],
        "folder": "",
        "patient": failure.get("patient", ""),
        "volume": None,
        "lesions": None,
        "blood": None,
        "slices": None,
        "probability": None,
        "flags": ["failed"],
        "text": failure["sentence"],
    }
