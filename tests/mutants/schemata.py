"""Turns many mutants into one program, in which each is switched on by its number at run time.

`a < b` that could be `a <= b` becomes `(if crate::mutant(7) {a <= b} else {a < b})`, and the compiler is
asked which of these it accepts. Those that no `if` can hold, as in a constant, are named instead.
"""

import json
import re
import subprocess

import tree_sitter_rust
from tree_sitter import Language, Parser

PARSER = Parser(Language(tree_sitter_rust.language()))
UNVIABLE, ALONE = "unviable", "alone"
OUTERMOST = 1e9


class Insertion:
    """Text at a place: pieces, each with the number of its mutant or None. Of several at one place, ends come
    before beginnings, and what surrounds more is outside."""

    def __init__(self, at, begins, size, *pieces):
        self.at, self.pieces = at, pieces
        self.order = (at, begins, -size if begins else size)


class Source:
    """A file of the crate, and its mutants by their numbers."""

    def __init__(self, text, mutants):
        self.text, self.mutants = text, mutants
        self.lines = text.split(b"\n")
        self.nodes = {}
        self.index(PARSER.parse(text).root_node)

    def index(self, node):
        """Notes where each operator, match arm and struct expression is."""
        if node.type in ("binary_expression", "compound_assignment_expr"):
            self.nodes["BinaryOperator", node.child_by_field_name("operator").start_byte] = node
        elif node.type == "let_chain":
            for child in node.children:
                self.nodes["BinaryOperator", child.start_byte] = node
        elif node.type == "unary_expression":
            self.nodes["UnaryOperator", node.start_byte] = node
        elif node.type == "match_arm":
            self.nodes["MatchArm", node.start_byte] = node
        elif node.type in ("field_initializer", "shorthand_field_initializer"):
            self.nodes["StructField", node.start_byte] = node.parent.parent
        for child in node.children:
            self.index(child)

    def offset(self, place):
        before = self.lines[: place["line"] - 1]
        line = self.lines[place["line"] - 1].decode()
        return sum(len(line) + 1 for line in before) + len(line[: place["column"] - 1].encode())

    def span(self, mutant):
        return self.offset(mutant["span"]["start"]), self.offset(mutant["span"]["end"])

    def mutated(self, mutant):
        """The file with this one mutant, always on."""
        start, end = self.span(mutant)
        return self.text[:start] + mutant["replacement"].encode() + self.text[end:]

    def place(self, mutant):
        """How a mutant is put in: the kind of place, where it begins and ends, and what is said there."""
        genre, replacement = mutant["genre"], mutant["replacement"].encode()
        start, end = self.span(mutant)
        if genre == "FnValue":
            iterator = "impl Iterator" in mutant["function"]["return_type"]
            return "iterator" if iterator else "body", start, end, replacement
        if genre == "MatchArmGuard":
            return None if b"let " in self.text[start:end] else ("either", start, end, replacement)
        node = self.nodes.get((genre, start))
        if not node:
            return None
        if genre == "MatchArm":
            pattern = node.child_by_field_name("pattern")
            condition = pattern.child_by_field_name("condition")
            if condition:
                return "guard", condition.start_byte, condition.end_byte, b""
            return "arm", pattern.end_byte, pattern.end_byte, b""
        if node.type == "let_chain":
            return UNVIABLE, 0, 0, b""
        while node.type == node.parent.type == "binary_expression":
            # `a && b && c` with `||` for the first is `a || (b && c)`: cargo-mutants replaces text.
            node = node.parent
        changed = self.text[node.start_byte : start] + replacement + self.text[end : node.end_byte]
        return "either", node.start_byte, node.end_byte, changed

    def insertions(self, kind, start, end, mutants):
        """What is put in for the mutants of one kind at one place, given with what each says."""
        size, (first, _) = end - start, mutants[0]
        if kind == "either":
            switches = [(n, b"if crate::mutant(%d) {%s} else " % (n, text)) for n, text in mutants]
            before = Insertion(start, 1, size, (None, b"("), *switches, (None, b"{"))
            return [before, Insertion(end, 0, size, (None, b"})"))]
        if kind == "body":
            switches = [(n, b"if crate::mutant(%d) { return %s; }" % (n, text)) for n, text in mutants]
            return [Insertion(start, 1, OUTERMOST, *switches)]
        if kind == "iterator":
            # What is returned has no name: it is the chain of all that it could be, each if it is on.
            any_on = b" || ".join(b"crate::mutant(%d)" % n for n, _ in mutants)
            others = b".chain(crate::mutant(%d).then(|| %s).into_iter().flatten())"
            others = [(n, others % (n, text)) for n, text in mutants]
            before = Insertion(start, 1, OUTERMOST, (None, b"(!(%s)).then(move || {" % any_on))
            return [before, Insertion(end, 0, OUTERMOST, (None, b"}).into_iter().flatten()"), *others)]
        unless = b"!crate::mutant(%d)" % first
        if kind == "arm":
            return [Insertion(start, 1, 0, (first, b" if " + unless))]
        # Around all else in the guard.
        size += 0.5
        if b"let " in self.text[start:end]:
            return [Insertion(start, 1, size, (first, unless + b" && "))]
        before = Insertion(start, 1, size, (first, unless + b" && ("))
        return [before, Insertion(end, 0, size, (None, b")"))]

    def schemata(self, left_out):
        """The file with all its mutants but those left out, and the range of bytes of each."""
        places = {}
        for number, mutant in self.mutants.items():
            place = None if number in left_out else self.place(mutant)
            if place and place[0] != UNVIABLE:
                places.setdefault(place[:3], []).append((number, place[3]))
            else:
                left_out.setdefault(number, place[0] if place else ALONE)
        insertions = [i for place, mutants in places.items() for i in self.insertions(*place, mutants)]
        out, at, ranges = bytearray(), 0, []
        for insertion in sorted(insertions, key=lambda insertion: insertion.order):
            out += self.text[at : insertion.at]
            at = insertion.at
            for number, text in insertion.pieces:
                ranges += [(len(out), len(out) + len(text), number)] * (number is not None)
                out += text
        return bytes(out + self.text[at:]), ranges


def without_const(text, kept):
    """A `const fn` cannot ask at run time, so it becomes an ordinary one; those that constants need stay."""
    spared = lambda match: match[0] if match[1] in kept else b"      fn " + match[1]
    return re.sub(rb"const fn (\w+)", spared, text)


def errors(tree, command, environment):
    """What the compiler does not accept: code, message, and the spans, those that matter most first."""
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    for line in run.stdout.splitlines():
        said = json.loads(line).get("message") if line.startswith("{") else None
        if said and said["level"] == "error" and said["spans"]:
            spans = sorted(said["spans"], key=lambda span: not span["is_primary"])
            yield (said.get("code") or {}).get("code"), said["rendered"], spans
    if run.returncode:
        yield None, run.stderr, []


def who(spans, ranges):
    """The number of the mutant that an error is about."""
    for span in spans:
        for start, end, number in ranges.get(span["file_name"], []):
            if start <= span["byte_start"] and span["byte_end"] <= end:
                return number
    return None


def build(tree, mutants, command, environment):
    """Writes the mutants into the tree's sources. Returns these as they were, and the numbers of those
    that are not in, with the reason."""
    texts = {m["file"]: (tree / m["file"]).read_bytes() for m in mutants}
    library = (tree / "src/lib.rs").read_bytes()
    (tree / "src/lib.rs").write_bytes(library + (tree / "tests/mutants/switch.rs").read_bytes())
    left_out, kept = {}, set()
    for _ in range(20):
        sources, ranges = {}, {}
        for file, text in texts.items():
            own = {number: m for number, m in enumerate(mutants) if m["file"] == file}
            sources[file] = Source(without_const(text, kept), own)
            text, ranges[file] = sources[file].schemata(left_out)
            (tree / file).write_bytes(text)
        found = list(errors(tree, command, environment))
        if not found:
            return sources, left_out
        learned = len(left_out) + len(kept)
        for code, message, spans in found:
            number = who(spans, ranges)
            if number is not None:
                left_out[number] = ALONE if code in ("E0015", "E0658") else UNVIABLE
            elif code == "E0015":
                kept |= {name.encode() for name in re.findall(r"`(?:[\w<>]+::)*(\w+)`", message)}
        if learned == len(left_out) + len(kept):
            break
    raise SystemExit("\n".join(message for _, message, _ in found))
