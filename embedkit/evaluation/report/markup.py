"""Text that others wrote, made harmless for HTML and SVG; numbers as the report shows them."""

import html
import math
import re
import unicodedata

MISSING = "–"

_CUT = "…"
_TURNS_TEXT = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NEVER_SHOWN = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}


def text(value: object, limit: int = 200) -> str:
    r"""`value` as text that can stand between tags and in quoted attributes.

    Args:
        value: Anything; what it says is not trusted.
        limit: Characters after which it is cut.

    Returns:
        The text, escaped; control characters, surrogates and marks that turn the direction of the line are
        replaced by U+FFFD, so that they are seen.

    Example:
        >>> text("<b>\x00 & 'so on'", limit=8)
        '&lt;b&gt;\ufffd &amp; &#x27;…'
    """
    return html.escape(plain(value, limit))


def plain(value: object, limit: int = 200) -> str:
    """`value` as text that neither a page nor a terminal obeys, cut after `limit` characters."""
    written = str(value)
    shown = written[:limit]
    if not shown.isprintable():  # which never holds what is replaced
        shown = "".join(map(_visible, shown))
    return shown + _CUT if len(written) > limit else shown


def breakable(value: object) -> str:
    """A name as text that may break where its words meet, as in TwitterSemEval."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[/\-])(?=\w)", "<wbr>", text(value))


def isolated(value: object) -> str:
    """A name whose direction of writing does not touch what stands beside it."""
    return f"<bdi>{breakable(value)}</bdi>"


def points(score: float | None, digits: int = 2) -> str:
    """A score in points, as 82.03.

    Example:
        >>> points(0.8203), points(None), points(float("nan"))
        ('82.03', '–', 'NaN')
    """
    if score is None:
        return MISSING
    return f"{100 * score:.{digits}f}" if math.isfinite(score) else "NaN"


def signed(difference: float) -> str:
    """A difference in points with its sign, as +1.25 or −0.30."""
    return f"{100 * difference:+.2f}".replace("-", "\u2212")


def probability(p_value: float | None) -> str:
    """A p-value, as 0.03 or < 0.001."""
    if p_value is None or not math.isfinite(p_value):
        return MISSING
    return "&lt; 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def seconds(value: float) -> str:
    """A duration, as 0.4 s, 12 s or 3 min."""
    if value >= 120:
        return f"{value / 60:,.0f} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    if character in _TURNS_TEXT or unicodedata.category(character) in _NEVER_SHOWN:
        return "\ufffd"
    return character
