"""A model's card as rich text for a narrow panel: what it learned from, how good it is, limits, licence."""

from html import escape
from typing import Any


def summary(card: Any) -> str:
    """A `ModelCard` as rich text without colours of its own."""
    training = card.training
    counts = [f"{number:,} {what}" for what in ("patients", "slices") if (number := getattr(training, what))]
    licence = f"({training.licence})" if training.licence else ""
    learned = [training.data, ", ".join(counts), training.attribution, licence]
    parts = [
        f"<p><b>{escape(card.name)} {escape(card.version)}</b><br>{escape(card.description)}</p>",
        _section("Learned from", "<br>".join(escape(line) for line in learned if line)),
        _section("Measured", "<br>".join(_results(card.results)) or "Nothing was measured."),
        _section("Limits", "".join(f"<li>{escape(limit)}</li>" for limit in card.limits), "ul"),
        _section("Licence", escape(card.licence)),
        _section("Cite", escape(card.citation)),
        "<p><i>Research use only; not for diagnosis.</i></p>",
    ]
    return "".join(parts)


def _section(title: str, content: str, element: str = "") -> str:
    """A heading with its text, or with a list."""
    if not content:
        return ""
    if element:
        return f"<p><b>{title}</b></p><{element}>{content}</{element}>"
    return f"<p><b>{title}</b><br>{content}</p>"


def _results(results: dict[str, Any], before: str = "") -> list[str]:
    """Lines of results, groups within groups named before them."""
    lines: list[str] = []
    for key, value in results.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            lines += _results(value, f"{name}, ")
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            lines.append(escape(f"{name}: {text}"))
    return lines
