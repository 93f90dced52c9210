"""Why pip failed, as one sentence for the user."""

from __future__ import annotations

import platform
import re
from pathlib import Path

# In this order: pip tells of a lost network first and then, misleadingly, that no version was found.
CAUSES = (
    (r"No space left on device|Errno 28\b|not enough space on the disk", "space"),
    (r"Permission denied|Errno 13\b|Access is denied|WinError (5|32)\b|Read-only file system", "access"),
    (
        r"NewConnectionError|NameResolutionError|Failed to establish|name resolution|getaddrinfo failed"
        r"|Max retries exceeded|ProxyError|ConnectTimeout|Network is unreachable|Connection refused",
        "network",
    ),
    (r"SSLError|CERTIFICATE_VERIFY_FAILED|certificate verify failed", "certificate"),
    (r"Read timed out|ReadTimeoutError|IncompleteRead|Connection (aborted|broken|reset)", "broken"),
    (r"DO NOT MATCH THE HASHES|BadZipFile|is not a valid wheel|has an invalid wheel", "damaged"),
    (r"ResolutionImpossible|conflicting dependencies", "conflict"),
    (r"No matching distribution found|Could not find a version that satisfies", "none"),
)


def failureSentence(package: str, lines: list[str], wheels: Path | None = None) -> str:
    """One sentence: which package failed, why, what to do, and pip's most telling line.

    `lines` is what pip wrote; `wheels` the folder of an installation without the internet.
    """
    cause, line = _tellingLine(lines)
    if cause == "none" and wheels is not None:
        wanted = _wanted(line) or package
        return (
            f"The folder {wheels} has no wheel of {wanted} that fits this Python "
            f"({platform.python_version()}, {platform.system()} {platform.machine()}): add it and install again."
        )
    advice = {
        "space": "the disk is full; free some space and install again",
        "access": "a file in Slicer's Python cannot be written; restart Slicer as a user who may write there, "
        "and install before anything else",
        "network": "there is no connection to the package index; check the internet connection and the proxy, "
        "or install from a folder of wheels",
        "certificate": "the package index could not be trusted, usually because of an institution's proxy; "
        "set its certificate in pip's settings, or install from a folder of wheels",
        "broken": "the download broke off; install again",
        "damaged": "a file of it is damaged; install again",
        "conflict": "no version of it fits the packages that Slicer has; see the log",
        "none": "the package index has no version that fits this Python; update Slicer, or check pip's settings",
        "other": "see the log",
    }[cause]
    said = f" (pip: {line})" if line else ""
    return f"{package} could not be installed: {advice}{said}."


def _tellingLine(lines: list[str]) -> tuple[str, str]:
    """The cause and the line of pip's output that names it."""
    for pattern, cause in CAUSES:
        found = [line for line in lines if re.search(pattern, line, re.IGNORECASE)]
        if found:
            return cause, _short(next((line for line in found if line.startswith("ERROR")), found[-1]))
    errors = [line for line in lines if re.match(r"\s*(ERROR|error|\w*Error)\b", line)]
    texts = errors or [line for line in lines if line.strip()]
    return "other", _short(texts[-1]) if texts else ""


def _short(line: str, longest: int = 240) -> str:
    # The core of a warning that is full of the addresses of objects.
    core = re.search(r"Failed to establish a new connection: [^')]+|\[Errno -?\d+\] [^')]+", line)
    if core and line.startswith("WARNING"):
        line = core.group()
    line = re.sub(r"^(ERROR|WARNING):\s*", "", line.strip()).rstrip(".")
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _wanted(line: str) -> str:
    """Which requirement pip found no wheel for."""
    match = re.search(r"(?:distribution found for|satisfies the requirement)\s+(\S+)", line)
    return match.group(1) if match else ""
