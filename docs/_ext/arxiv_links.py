"""Numbers of arXiv in the text, and in docstrings, as links."""

import re

from docutils import nodes

NUMBER = re.compile(r"(?<=arXiv )\d{4}\.\d{5}|(?<=arXiv:)\d{4}\.\d{5}")
# What is a link already, or is to be typed.
KEPT = (nodes.reference, nodes.literal, nodes.literal_block)


def link_numbers(app, doctree):
    """Put a link in place of each number."""
    for text in list(doctree.findall(nodes.Text)):
        said, parent, parts, end = text.astext(), text.parent, [], 0
        if isinstance(parent, KEPT):
            continue
        # A line may break after the name.
        for found in NUMBER.finditer(said.replace("\n", " ")):
            number = found.group()
            parts += [
                nodes.Text(said[end : found.start()]),
                nodes.reference("", number, refuri=f"https://arxiv.org/abs/{number}"),
            ]
            end = found.end()
        if parts:
            parent.replace(text, [*parts, nodes.Text(said[end:])])


def setup(app):
    """Connect it."""
    app.connect("doctree-read", link_numbers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
