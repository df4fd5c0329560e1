"""Weaves many mutants into one program, so that one build serves all of them.

A function that patches change is kept once as it is and once for each of them, under names of their own; the function
itself only asks which one is meant:

    fn join(&mut self, p1: &mut Output<Self>) -> bool {
        match crate::mutant__() { 7 => self.join__7(p1), 9 => self.join__9(p1), _ => self.join__0(p1) }
    }

The number comes from the environment (QUORATE_MUTANT). Each copy is what its patch makes of the function, letter for letter.
A patch that changes anything else than the body of one function cannot be woven and is built by itself.

rustfmt is relied on: a function of a file or an `impl` begins and ends at the same indentation.
"""

import hashlib
import pathlib
import re
import zlib

FUNCTION = re.compile(r"^( {0,4})((?:pub(?:\([a-z]+\))? )?)fn (\w+)")
BLOCK = re.compile(r"^(impl|mod|pub mod|trait|pub trait)\b.*\{$")
CHOICE = """
/// Which mutant runs.
#[allow(warnings)]
pub(crate) fn mutant__() -> u32 {
    static NUMBER: std::sync::LazyLock<u32> =
        std::sync::LazyLock::new(|| std::env::var("QUORATE_MUTANT").map_or(0, |it| it.parse().expect("a number")));
    *NUMBER
}
"""


class CannotWeave(Exception):
    """The patch changes something else than the body of one function."""


class Patch:
    """One patch: a file, and what becomes of runs of its lines."""

    def __init__(self, path):
        text = path.read_text()
        lines = text.split("\n")
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.name = path.stem
        # The same whatever other patches there are, so that a new one changes one function of the woven program.
        self.number = zlib.crc32(self.name.encode())
        rule = re.fullmatch(r"Breaks (.+)\.", lines[0])
        self.rule = rule and rule[1]
        self.file = next((line[6:] for line in lines if line.startswith("+++ b/")), None)
        self.hunks = []
        for line in lines:
            if at := re.match(r"@@ -(\d+)", line):
                self.hunks.append((int(at[1]) - 1, []))
            elif self.hunks and line[:1] in ("+", "-", " "):
                self.hunks[-1][1].append((line[0], line[1:]))

    @property
    def crate(self):
        return self.file.split("/")[0]

    def edits(self, lines):
        """What it does to a file: places (first line, end) with the lines that they become."""
        edits = []
        for start, hunk in self.hunks:
            old = [text for sign, text in hunk if sign != "+"]
            places = [at for at in range(len(lines) - len(old) + 1) if lines[at : at + len(old)] == old]
            if not places:
                raise CannotWeave(f"{self.name} does not apply")
            at = min(places, key=lambda place: abs(place - start))
            for sign, text in hunk:
                if sign == " ":
                    at += 1
                elif sign == "-":
                    edits.append((at, at + 1, []))
                    at += 1
                else:
                    edits.append((at, at, [text]))
        return edits


def function_at(lines, at):
    """First line and last of the function of a file or an `impl` around a line, and its name."""
    for first in range(min(at, len(lines) - 1), -1, -1):
        if found := FUNCTION.match(lines[first]):
            indent = found[1]
            if lines[first].endswith("}"):
                last = first
            else:
                last = next(it for it in range(first + 1, len(lines)) if lines[it] == indent + "}")
            return (first, last, found[3]) if at <= last else None
    return None


def split_top(text, separator):
    """Splits at separators that stand in no brackets."""
    parts, depth, part = [], 0, ""
    for place, letter in enumerate(text):
        depth += letter in "([{<"
        depth -= letter in ")]}" or (letter == ">" and text[place - 1] not in "-=")
        if letter == separator and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += letter
    return [it.strip() for it in [*parts, part] if it.strip()]


def signature(text):
    """Splits a signature, up to its `{`, into what is before, between and behind the brackets of its parameters."""
    depth = 0
    for place in range(text.index("fn "), len(text)):
        letter = text[place]
        depth += letter == "<"
        depth -= letter == ">" and text[place - 1] not in "-="
        if letter == "(" and depth == 0:
            break
    level = 0
    for end in range(place, len(text)):
        level += (text[end] == "(") - (text[end] == ")")
        if level == 0:
            return text[: place + 1], text[place + 1 : end], text[end:]
    raise CannotWeave("no signature")


class File:
    """A file with the functions in it that patches change."""

    def __init__(self, text):
        self.lines = text.split("\n")
        self.copies = {}

    def add(self, number, patch):
        edits = patch.edits(self.lines)
        around = {function_at(self.lines, at) for at, _, _ in edits}
        if len(around) != 1 or None in around:
            raise CannotWeave("not the body of one function")
        ((first, last, name),) = around
        body = next(at for at in range(first, last + 1) if self.lines[at].endswith("{"))
        if body == last or any(at <= body or end > last for at, end, _ in edits):
            raise CannotWeave("not its body")
        head = "\n".join(self.lines[first : body + 1])
        if "-> impl" in head:
            raise CannotWeave("each copy would return a type of its own")
        lines = list(self.lines)
        for at, end, new in reversed(edits):
            lines[at:end] = new
        grown = len(lines) - len(self.lines)
        self.copies.setdefault((first, last, name), {})[number] = lines[first : last + 1 + grown]

    def woven(self):
        lines = list(self.lines)
        for (first, last, name), copies in sorted(self.copies.items(), reverse=True):
            body = next(at for at in range(first, last + 1) if lines[at].endswith("{"))
            before, parameters, behind = signature("\n".join(lines[first : body + 1]))
            names, typed = [], []
            for number, parameter in enumerate(split_top(parameters.replace("\n", " "), ",")):
                if parameter.split(":")[0].split()[-1].lstrip("&") == "self":
                    typed.append(parameter)
                else:
                    names.append(f"p{number}")
                    typed.append(f"p{number}: " + split_pattern(parameter))
            block = next((at for at in range(first, -1, -1) if BLOCK.match(lines[at])), None) if lines[first][0] == " " else None
            owner = lines[block] if block is not None else ""
            receiver = "self." if len(names) < len(typed) else "Self::" if owner.startswith("impl") else ""
            arms = [f"{key} => {receiver}{name}__{key}({', '.join(names)})," for key in copies]
            arms.append(f"_ => {receiver}{name}__0({', '.join(names)}),")
            choice = [before + ", ".join(typed) + behind, " match crate::mutant__() {", *arms, " }", lines[last]]
            all_copies = []
            for key, copy in {0: lines[first : last + 1], **copies}.items():
                renamed = re.sub(r"fn \w+", f"fn {name}__{key}", copy[0], count=1)
                all_copies += ["#[allow(warnings)]", renamed, *copy[1:]]
            if kept := re.match(r"impl(<.*?>)? .* for (.*)$", owner):
                end = next(at for at in range(last, len(lines)) if lines[at] == "}")
                lines[end + 1 : end + 1] = [f"impl{kept[1] or ''} {kept[2]}", *all_copies, "}"]
                all_copies = []
            lines[first : last + 1] = choice + all_copies
        return "\n".join(lines)


def split_pattern(parameter):
    """The type of a parameter, whatever pattern it is taken by."""
    depth = 0
    for place, letter in enumerate(parameter):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == ":" and depth == 0 and parameter[place + 1] == " ":
            return parameter[place + 2 :]
    raise CannotWeave("a parameter without a type")


def weave(tree, numbered):
    """Weaves patches, by their numbers, into a tree of sources; the numbers of those that could not be."""
    files, left, woven = {}, set(), {}
    for number, patch in numbered.items():
        try:
            file = files.setdefault(patch.file, File((tree / patch.file).read_text()))
            file.add(number, patch)
        except CannotWeave:
            left.add(number)
    for path, file in files.items():
        woven[path] = file.woven()
    for crate in {path.split("/")[0] for path in files}:
        root = next(it for it in (f"{crate}/src/lib.rs", f"{crate}/src/main.rs") if (tree / it).exists())
        woven[root] = woven.get(root, (tree / root).read_text()) + CHOICE
    return woven, left


def copy_at(path, line):
    """The function at a line of a woven file, and whose copy it is: 0 for nobody's."""
    lines = pathlib.Path(path).read_text().split("\n")
    found = function_at(lines, line - 1)
    if found is None:
        return None, 0
    name, _, number = found[2].partition("__")
    return name, int(number or 0)
