"""The report as one HTML file that needs nothing else: pictures inside, no script, no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.report.case import NOTICE, Case
from ICHWeakSegLib.report.curve import curve_svg, curve_words
from ICHWeakSegLib.report.page import PAGE, STYLE
from ICHWeakSegLib.report.pictures import Pictures, SlicePicture, pictures_of, view_png, view_words
from ICHWeakSegLib.report.tables import Table, lesion_table, provenance_rows, score_head, score_inputs
from ICHWeakSegLib.version import __version__


def write_html(path: str | Path, case: Case, pictures: Pictures | None = None) -> Path:
    """Write the report of a case; the same case gives the same bytes.

    Args:
        path: target, `.html`.
        case: from `make_case` or `case_of`.
        pictures: from `pictures_of`, where they are there already.

    Raises:
        InputError: the file cannot be written.
    """
    text = page(case, pictures or pictures_of(case))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return Path(path)


def page(case: Case, pictures: Pictures) -> str:
    """The whole page."""
    sections = [
        _result(case),
        _slices(pictures),
        _space(case, pictures),
        _lesions(case),
        f'<div class="pair last">{_curve(case)}{_scores(case)}</div>',
        _provenance(case),
    ]
    parts = {
        "SOFTWARE": f"ICHWeakSeg {escape(__version__)}",
        "TITLE": escape(title(case)),
        "STYLE": STYLE,
        "NOTICE": escape(NOTICE),
        "IDENTITY": _facts(case.identity.items()) if case.identity else "",
        "BODY": "\n".join(sections),
    }
    # One pass: what a case says must not be taken for a place to fill.
    pieces = PAGE.split("@")
    return "".join(parts.get(piece, piece) if n % 2 else piece for n, piece in enumerate(pieces))


def title(case: Case) -> str:
    """Head of the report."""
    return "Intracranial hemorrhage on head CT" + (f": {case.name}" if case.name else "")


def _section(name: str, head: str, body: str) -> str:
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{head}</h2>\n{body}\n</section>'


def _result(case: Case) -> str:
    if case.warnings:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in case.warnings)
        warnings = f"<h3>Warnings</h3>\n<ul>{items}</ul>"
    else:
        warnings = '<p class="small">No warnings.</p>'
    return _section("result", "Result", f'<p class="lead">{escape(case.summary())}</p>\n{warnings}')


def _slices(pictures: Pictures) -> str:
    tiles = "\n".join(_tile(pictures, one) for one in pictures.slices)
    blood = bool(pictures.case.quantities.lesions)
    head = "Key slices, blood outlined" if blood else "Slices, no blood outlined"
    words = "Numbers: lesions of the table below." if blood else ""
    if pictures.case.probabilities is not None:
        words += " p: the network's probability of blood on the slice."
    note = f'\n<p class="small">{words.strip()}</p>' if words else ""
    return _section("slices", head, f'<div class="tiles slices">\n{tiles}\n</div>{note}')


def _tile(pictures: Pictures, picture: SlicePicture) -> str:
    return (
        f'<figure><img src="{_data("jpeg", pictures.jpeg(picture))}" alt="{escape(picture.words)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _space(case: Case, pictures: Pictures) -> str:
    views = []
    for view in pictures.views:
        letters = "".join(f'<span aria-hidden="true">{letter}</span>' for letter in view.letters)
        views.append(
            f'<figure class="view"><div class="sides"><img src="{_data("png", view_png(view))}" '
            f'alt="{escape(view_words(case, view))}">{letters}</div>'
            f"<figcaption>Seen {escape(view.words)}</figcaption></figure>"
        )
    space = _section("space", "In space", '<div class="tiles views">\n' + "\n".join(views) + "\n</div>")
    if pictures.maps:
        tiles = "\n".join(_tile(pictures, one) for one in pictures.maps)
        note = '<p class="small">Yellow: the network looked here most; the white line outlines the blood.</p>'
        body = f'<div class="tiles maps">\n{tiles}\n</div>\n{note}'
    else:
        body = "<p>No map was given.</p>"
    return f'<div class="pair">{space}{_section("map", "Localization map", body)}</div>'


def _lesions(case: Case) -> str:
    table = lesion_table(case)
    note = f'<p class="small">{escape(table.note)}</p>' if table.note else ""
    body = (
        _table(
            table,
            "The largest first. Diameter: the largest on a slice; HU: Hounsfield units; SD: standard deviation.",
        )
        if table.rows
        else ""
    )
    return _section("lesions", "Lesions", body + note)


def _table(table: Table, caption: str) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.heads)
    rows = "\n".join(_row(row) for row in table.rows)
    last = f"<tfoot>{_row(table.last)}</tfoot>" if table.last else ""
    return (
        f'<div class="wide" role="region" aria-label="Table of lesions" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody>{last}"
        "</table></div>"
    )


def _row(cells: list[str]) -> str:
    rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
    return f'<tr><th scope="row">{escape(cells[0])}</th>{rest}</tr>'


def _curve(case: Case) -> str:
    if case.probabilities is None:
        return _section("curve", "Slice probabilities", "<p>No slice scores were given.</p>")
    rows = "".join(
        _row([str(s), f"{probability:.3f}", "yes" if case.lesions[s].any() else "no"])
        for s, probability in enumerate(case.probabilities)
    )
    words = escape(curve_words(case))
    body = (
        f'<figure class="curve"><div role="img" aria-label="{words}">{curve_svg(case)}</div>'
        '<figcaption class="small">Amber: slices with outlined blood.</figcaption></figure>\n'
        "<details><summary>All probabilities as a table</summary>"
        '<div role="region" aria-label="All slice probabilities" tabindex="0"><table>'
        "<caption>Probability of blood on each axial slice</caption><thead><tr>"
        '<th scope="col">Slice</th><th scope="col">Probability</th><th scope="col">Outlined blood</th>'
        "</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>"
    )
    return _section("curve", "Slice probabilities", body)


def _scores(case: Case) -> str:
    parts = []
    for score in case.scores.scores:
        rows = "".join(_row(list(part)) for part in score_inputs(score))
        parts.append(
            f"<div><h3>{escape(score_head(score))}</h3>\n<table><caption>{escape(score.source)}</caption><thead><tr>"
            f'<th scope="col">Input</th><th scope="col">Given</th><th scope="col">Points</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    if parts:
        parts = [f'<div class="two">{"".join(parts)}</div>']
        limits = case.scores.scores[0]
        parts.append(
            f'<p class="small">{escape(f"{limits.applies_to} {limits.notice} {case.scores.note}")}</p>'
        )
    else:
        parts.append(f"<p>{escape(case.scores.note)}</p>")
    return _section("scores", "Clinical scores", "\n".join(parts))


def _provenance(case: Case) -> str:
    return _section("made", "How it was made", _facts(provenance_rows(case)))


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in rows)
    return f'<dl class="facts">{lines}</dl>'


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
