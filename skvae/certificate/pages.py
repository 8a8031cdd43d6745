"""Reports as pages of HTML, which need no network and no script."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Bar", "fragment", "page"]

# What each line of a report says, in a phrase.
PHRASES = {
    "teacher information": "I_T: what the best constant answer costs; no margin exceeds it",
    "alignment cost": "what the witness costs, which reads the code alone",
    "margin": "I_T less that cost, on these rows",
    "lower bound": "below the margin of the population, with this confidence",
    "log e-value": "evidence against “no better than a constant”; 3 is one in twenty",
    "rate": "divergence of the posterior from the prior: no draw carries more",
    "mutual information": "of a draw of the code about its row, estimated",
    "reconstruction margin": "the same margin, of the teacher on decoded rows",
    "decoder's gain from the code": "log likelihood by a row's own code, less by another's",
    "view gap": "what the margin would lose under the teacher of X",
    "active units": "dimensions of the code that vary",
}
STYLE = """
.skvae-report { max-width: 46rem; line-height: 1.45; overflow-wrap: break-word; }
.skvae-report h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
.skvae-report .verdict { border-left: .35rem solid #8a8a8a; padding: .3rem .8rem; }
.skvae-report .certified { border-color: #2f8fce; }
.skvae-report table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
.skvae-report th, .skvae-report td { text-align: left; padding: .35rem .5rem .35rem 0;
  border-bottom: 1px solid rgba(128, 128, 128, .35); vertical-align: top; font-weight: normal; }
.skvae-report th + th, .skvae-report td { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; padding: .35rem 0 .35rem .8rem; }
.skvae-report small { display: block; opacity: .72; }
.skvae-report svg { display: block; width: 100%; height: 84px; overflow: visible; }
.skvae-report svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.skvae-report figure { margin: .8rem 0; }
.skvae-report figcaption { font-size: .9rem; }
.skvae-report figcaption + svg { margin-top: .3rem; }
.skvae-report ul { padding-left: 1.2rem; }
.skvae-report li { margin: .2rem 0; }
"""
PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 46rem; }
@media (prefers-color-scheme: dark) { body { background: #16191d; color: #e4e6e8; } }
@media (prefers-color-scheme: light) { body { background: #ffffff; color: #1d2733; } }
.skvae-report + .skvae-report { margin-top: 2.5rem; }
"""
# Of I_T: how far below zero a bar goes. What is lower is drawn at its end.
BELOW = 0.3
BLUE, ORANGE = "#2f8fce", "#e0722d"
# Percents from either end within which a label is set off to the inside.
NEAR = 17.0


class Bar(NamedTuple):
    """A margin and its bound at one read, and the ``I_T`` that it ends at, in nats."""

    name: str
    margin: float
    lower_bound: float
    information: float


def fragment(
    *,
    title: str,
    verdict: str,
    sentence: str,
    tau: float,
    bars: Sequence[Bar],
    table: Iterable[tuple[str, str, str]],
    notes: Iterable[str],
    next_step: str | None,
    is_explained: bool,
) -> str:
    """Return a report as a part of a page.

    Parameters
    ----------
    title, verdict, sentence : str
        What was certified, the verdict in a word, and in a sentence.
    tau : float
        What bounds are compared with.
    bars : sequence of Bar
        The one that decides comes first.
    table : iterable of (label, value at the mean, value at the sample)
        Lines, the values as text.
    notes : iterable of str
        What is said of single numbers.
    next_step : str or None
        What to do.
    is_explained : bool
        Whether each line has a phrase that says what it is.
    """
    table = list(table)
    # Without draws there would be a column of nothing.
    n_reads = 2 if any(sample for *_, sample in table) else 1
    heads = "".join(f'<th scope="col">{read}</th>' for read in ("mean", "sample")[:n_reads])
    lines = []
    for label, *values in table:
        known = "lower bound" if "lower bound" in label else label
        phrase = f"<small>{_text(PHRASES[known])}</small>" if is_explained else ""
        cells = "".join(f"<td>{_text(value)}</td>" for value in values[:n_reads])
        lines.append(f'<tr><th scope="row">{_text(label)}{phrase}</th>{cells}</tr>')
    said = "".join(f"<li>{_marked(note)}</li>" for note in notes)
    step = "" if next_step is None else f"<p><strong>next:</strong> {_marked(next_step)}</p>"
    return (
        f'<div class="skvae-report"><style>{STYLE}</style><h2>{_text(title)}</h2>'
        f'<p class="verdict {_text(verdict)}">{_text(sentence)}</p>'
        + "".join(_drawn(bar, tau) for bar in bars)
        + f'<table><tr><th scope="col">nats</th>{heads}</tr>{"".join(lines)}</table>'
        + (f"<ul>{said}</ul>" if said else "")
        + f"{step}</div>"
    )


def page(title: str, fragments: Iterable[str], head: str = "") -> str:
    """Return parts as a whole page, which stands by itself.

    Parameters
    ----------
    title : str
        Of the window.
    fragments : iterable of str
        What `fragment` returned.
    head : str, default=""
        A sentence above them.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{PAGE_STYLE}</style></head><body>"
        + (f"<p>{_text(head)}</p>" if head else "")
        + "".join(fragments)
        + "<p><small>Certified means that the code is not constant in x, with the confidence "
        "stated. It means no more: not that the code is good, nor that it keeps what anyone "
        "needs.</small></p></body></html>\n"
    )


def _drawn(bar: Bar, tau: float) -> str:
    """Draw a bar from 0 to I_T with a margin, its bound and tau.

    Positions are percents and text is not scaled, so that it can be read at any width.
    """
    information = bar.information
    lowest = min(0.0, bar.margin, bar.lower_bound, tau)
    left = max(lowest, -BELOW * information)

    def place(value: float) -> float:
        inside = min(max(value, left), information)
        return 100 * (inside - left) / (information - left)

    zero, margin, bound = map(place, (0.0, bar.margin, bar.lower_bound))
    start, width = min(zero, margin), abs(margin - zero)
    fill = f'fill="{BLUE}"' if bar.margin > 0 else 'fill="currentColor" opacity=".4"'
    shapes = [
        f'<rect x="{zero:.2f}%" y="20" width="{100 - zero:.2f}%" height="14" '
        'fill="currentColor" opacity=".13"/>',
        f'<rect x="{start:.2f}%" y="20" width="{width:.2f}%" height="14" {fill}/>',
        _line(zero, 14, 42, "currentColor"),
        _line(bound, 15, 47, ORANGE, 3),
        _label(margin, 11, f"margin {_told(bar.margin, left)}"),
        _label(bound, 61, f"lower bound {_told(bar.lower_bound, left)}"),
        _label(zero, 79, "0"),
        _label(100.0, 79, f"I_T {information:.4f}"),
    ]
    caption = bar.name
    if tau > 0:
        caption += f" (dashed: tau, {tau:g})"
        shapes.append(
            _line(place(tau), 14, 42, "currentColor", dashes=' stroke-dasharray="3 3"')
        )
    said = (
        f"{bar.name}: margin {bar.margin:.4f}, lower bound {bar.lower_bound:.4f}, of at most "
        f"I_T {information:.4f} nats"
    )
    return (
        f"<figure><figcaption>{_text(caption)}</figcaption>"
        f'<svg role="img" aria-label="{_text(said)}">{"".join(shapes)}</svg></figure>'
    )


def _told(value: float, left: float) -> str:
    # An arrow points to what lies beyond the end of the bar.
    return f"{'◂ ' if value < left else ''}{value:.4f}"


def _line(x: float, top: int, foot: int, colour: str, width: int = 1, dashes: str = "") -> str:
    return (
        f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{foot}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _label(x: float, y: int, text: str) -> str:
    anchor = "start" if x < NEAR else "end" if x > 100 - NEAR else "middle"
    return f'<text x="{x:.2f}%" y="{y}" text-anchor="{anchor}">{_text(text)}</text>'


def _marked(text: str) -> str:
    """Set names of the library, which stand in backticks, as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    return html.escape(text)
