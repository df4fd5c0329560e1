#!/usr/bin/env python3
"""Sees that every quote above a test (`/// > …`) stands in docs/*.md, word for word: a rule that has been reworded is quoted
as it is now, or the test checks what nobody asks for any more.

Left out may be what a quote marks by `…` or `[…]`. How lines are broken, what is emphasised, capital letters and the full stop
at the end make no difference.
"""

import pathlib
import re
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
# This page only speaks of tests, and repeats in its table of mutants what they break.
PAGES = sorted(set(CHECKOUT.glob("docs/*.md")) - {CHECKOUT / "docs/testing.md"})
QUOTED = re.compile(r"^ *//[/!] > ?(.*)$")


def plain(text):
    """The words of a piece of Markdown: without marks of links and emphasis, each gap one space."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[*_`]", "", text).split()).casefold()


def quotes(path):
    """Each quote in a file, with the number of its first line."""
    first, words = 0, []
    for number, line in enumerate([*path.read_text().split("\n"), ""], 1):
        if found := QUOTED.match(line):
            first = first or number
            words.append(found[1])
        elif words:
            yield first, " ".join(words)
            first, words = 0, []


def main():
    pages = [plain(page.read_text()) for page in PAGES]
    count, bad = 0, 0
    for path in sorted(CHECKOUT.glob("*/**/*.rs")):
        for line, quote in quotes(path):
            count += 1
            parts = [plain(part) for part in re.split(r"\[…\]|…", quote.removesuffix("."))]
            if not any(parts) or not any(all(part in page for part in parts) for page in pages):
                print(f"{path.relative_to(CHECKOUT)}:{line}: not in docs: {quote}", file=sys.stderr)
                bad += 1
    print(f"{count} quotes", file=sys.stderr)
    if bad or not count:
        sys.exit(1)


if __name__ == "__main__":
    main()
