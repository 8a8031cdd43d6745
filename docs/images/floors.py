"""Draw the floors of the library, as the rules of import-linter in pyproject.toml have them.

Run with ``python docs/images/floors.py``: it writes ``floors.svg`` beside itself.
"""

import tomllib
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT, GAP, LEFT = 360, 30, 8, 22
SHADED, PLAIN, INK = "#d3ead9", "#f1f3f5", "#1d2733"


def drawing() -> str:
    """Return the picture: a row of boxes for each floor, the highest first."""
    rules = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = rules["tool"]["importlinter"]["contracts"]
    layers = next(rule["layers"] for rule in contracts if rule["type"] == "layers")
    without_torch = {
        name.removeprefix("skvae.")
        for rule in contracts
        if "torch" in rule.get("forbidden_modules", [])
        for name in rule["source_modules"]
    }
    bottom = len(layers) * (HEIGHT + GAP) - GAP
    shapes = [f'<path d="M9 2V{bottom - 2}M4 {bottom - 9}l5 7l5 -7" fill="none"/>']
    for number, layer in enumerate(layers):
        wings = layer.split(" | ")
        y = number * (HEIGHT + GAP)
        width = (WIDTH - LEFT + GAP) / len(wings) - GAP
        for place, wing in enumerate(wings):
            x = LEFT + place * (width + GAP)
            fill = SHADED if wing in without_torch else PLAIN
            shapes += [
                f'<rect x="{x + 0.5:.1f}" y="{y + 0.5}" width="{width - 1:.1f}" '
                f'height="{HEIGHT - 1}" rx="4" fill="{fill}"/>',
                f'<text x="{x + width / 2:.1f}" y="{y + HEIGHT / 2 + 5:g}">{wing}</text>',
            ]
    style = (
        f"rect, path {{ stroke: {INK}; }} "
        f"text {{ font: 14px sans-serif; fill: {INK}; text-anchor: middle; }}"
    )
    whole = f"{WIDTH + 12} {bottom + 12}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 -6 {whole}">',
            f"<style>{style}</style>",
            # White in a dark theme too.
            '<path d="M-6 -6h999v999h-999z" fill="white" style="stroke: none"/>',
            *shapes,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    (HERE / "floors.svg").write_text(drawing(), encoding="utf-8")
