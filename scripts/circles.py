"""Who imports whom among the files of a crate, and the circles in that.

An import is a `use` of a name that another file defines, or a path to one (`frame::parse`, `super::MaskKey`), wherever
it stands.  A name that is handed on (`pub use child::Name;`) leads to the file that defines it and is no import of the file
that hands it on, unless that file uses it itself; neither is `mod child;`.  Tests do not count: items under `#[cfg(test)]`.
Methods are not seen: which file a call of one leads to takes a compiler.

Owns this reading of Rust, by its tokens alone.  Takes sources without comments and strings, but for `#[path = ".."]`.
"""
import re

TOKEN = re.compile(r"[A-Za-z_]\w*!?|r#\w+|::|[{}()\[\];,*#=<>&|.+\-!?:'$@/%^~]|\d[\w.]*")
WORD = re.compile(r"[A-Za-z_]\w*$")
ITEMS = {"fn", "struct", "enum", "union", "trait", "type", "const", "static"}
NOT_A_NAME = ITEMS | {"unsafe", "extern", "async", "mut", "crate", "self", "super", "as", "impl", "pub", "in", "for", "use", "mod"}
CLOSING = {"{": "}", "(": ")", "[": "]"}


class Module:
    """A module: its file, what it defines, and the names it brings in."""

    def __init__(self, file, parent):
        self.file, self.parent = file, parent
        self.items, self.children, self.names, self.globs = set(), {}, {}, []
        self.paths = []             # (line, segments, bound name or None, handed on?) of every path in it


class Crate:
    """All modules below one root file. `read` gives the code of a file, or None if there is no such file."""

    def __init__(self, root, read):
        self.read, self.words = read, {}
        self.root = Module(root, None)
        self.modules = []
        self.load(self.root)

    def load(self, module):
        code = self.read(module.file)
        self.modules.append(module)
        tokens = []
        for number, line in enumerate(code.split("\n"), 1):
            declared = re.search(r'#\[path = "([^"]*)"\]', line)
            if declared:
                tokens.append((number, "path=" + declared[1]))
                line = line.replace(declared[0], " ")
            tokens += [(number, token) for token in TOKEN.findall(line)]
        is_face = module.parent is None or module.file.name == "mod.rs"
        Reader(self, module, tokens, module.file.parent if is_face else module.file.with_suffix("")).run()

    def resolve(self, module, segments, seen=()):
        """The modules and the files that a path leads to: {(module or None, file)}; empty for what is not of this crate."""
        key = (id(module), tuple(segments))
        if key in seen:
            return set()
        seen = (*seen, key)
        head, rest = segments[0], segments[1:]
        if head == "crate":
            found = {(self.root, self.root.file)}
        elif head == "self":
            found = {(module, module.file)}
        elif head == "super":
            found = {(module.parent, module.parent.file)} if module.parent else set()
        else:
            found = self.lookup(module, head, seen)
        for segment in rest:
            nearer = set()
            for place, file in found:
                if place is None:
                    nearer.add((None, file))        # inside a type: its file is known
                elif segment == "super":
                    nearer |= {(place.parent, place.parent.file)} if place.parent else set()
                elif segment == "self":
                    nearer.add((place, file))
                else:
                    nearer |= self.lookup(place, segment, seen)
            found = nearer
        return found

    def lookup(self, module, name, seen):
        found = set()
        if name in module.items:
            found.add((None, module.file))
        if name in module.children:
            child = module.children[name]
            found.add((child, child.file))
        for segments in module.names.get(name, []):
            found |= self.resolve(module, segments, seen)
        if not found:
            for segments in module.globs:
                for place, _ in self.resolve(module, segments, seen):
                    if place is not None and place is not module:
                        found |= self.lookup(place, name, seen)
        return found

    def imports(self):
        """{(from, to): {name: line}}"""
        edges = {}
        for module in self.modules:
            used = self.words[id(module)]
            for line, segments, bound, handed_on in module.paths:
                if handed_on and bound not in used:
                    continue
                places = self.resolve(module, segments)
                files = {file for place, file in places if place is None}
                if segments[-1] == "*":
                    files = {place.file for place, _ in self.resolve(module, segments[:-1]) if place is not None}
                for file in files - {module.file}:
                    edges.setdefault((module.file, file), {}).setdefault(segments[-1], line)
        return edges


class Reader:
    """Reads the tokens of one file into its module, and into those written inside it."""

    def __init__(self, crate, module, tokens, under):
        self.crate, self.tokens, self.at, self.under = crate, tokens, 0, under
        self.module = module
        crate.words[id(module)] = set()

    def peek(self, ahead=0):
        at = self.at + ahead
        return self.tokens[at][1] if at < len(self.tokens) else ""

    def skip_group(self):
        """Behind the bracket that belongs to the one here."""
        depth = 0
        while self.at < len(self.tokens):
            token = self.peek()
            depth += (token in CLOSING) - (token in CLOSING.values())
            self.at += 1
            if depth == 0:
                return

    def skip_item(self):
        """Behind the item that begins here: to its `;` or the end of its braces."""
        while self.at < len(self.tokens):
            token = self.peek()
            if token in CLOSING:
                self.skip_group()
                if token == "{":
                    return
            else:
                self.at += 1
                if token == ";":
                    return

    def run(self, depth=0):
        """To the end of the file, or of the inline module that began before."""
        path, public = None, False
        base = depth
        while self.at < len(self.tokens):
            line, token = self.tokens[self.at]
            if token.startswith("path="):
                path = token[len("path="):]
                self.at += 1
            elif token == "#":
                begin = self.at
                self.at += 2 if self.peek(1) == "!" else 1
                self.skip_group()
                words = [word for _, word in self.tokens[begin:self.at]]
                if words[2:4] == ["cfg", "("] and "test" in words and "not" not in words and words[4] != "any":
                    self.skip_item()
            elif token == "use":
                self.at += 1
                self.use_tree(line, [], public, depth == base)
                public = False
            elif token == "mod" and WORD.match(self.peek(1)) and self.peek(2) in ("{", ";"):
                self.child(self.peek(1), path)
                path, public = None, False
            elif token == "pub":
                public = True
                self.at += 1
                if self.peek() == "(" and self.peek(1) in ("crate", "super", "self", "in"):
                    self.skip_group()
            elif token in ITEMS and WORD.match(self.peek(1)) and self.peek(1) not in NOT_A_NAME:
                if depth == base:
                    self.module.items.add(self.peek(1))
                self.at += 2
                public = False
            elif token == "static" and self.peek(1) == "mut" and depth == base:
                self.module.items.add(self.peek(2))
                self.at += 3
            elif token == "macro_rules!":
                self.module.items.add(self.peek(1))
                self.at += 2
            elif token == "{":
                depth += 1
                self.at += 1
            elif token == "}":
                self.at += 1
                if depth == base and base:
                    return
                depth -= 1
            elif WORD.match(token.rstrip("!")):
                self.path(line)
                public = public and self.peek() in ITEMS | {"unsafe", "use", "mod"}
            else:
                self.at += 1

    def child(self, name, path):
        inline = self.peek(2) == "{"
        self.at += 3
        if inline:
            outer, within = self.module, Module(self.module.file, self.module)
            self.crate.modules.append(within)
            self.crate.words[id(within)] = self.crate.words[id(outer)]
            outer.children[name], self.module = within, within
            self.run(depth=1)
            self.module = outer
            return
        if path:
            file = self.module.file.parent / path
        else:
            file = next((file for file in (self.under / (name + ".rs"), self.under / name / "mod.rs")
                         if self.crate.read(file) is not None), None)
        if file is None or self.crate.read(file) is None:
            return
        self.module.children[name] = within = Module(file, self.module)
        self.crate.load(within)

    def use_tree(self, line, before, public, binds):
        """One tree of a `use`; leaves the `;` or `,` or `}` behind it unread."""
        segments = list(before)
        while True:
            token = self.peek()
            if token == "{":
                self.at += 1
                while self.peek() not in ("}", ""):
                    self.use_tree(line, segments, public, binds)
                    if self.peek() == ",":
                        self.at += 1
                self.at += 1
                return
            if token == "*":
                self.at += 1
                self.module.paths.append((line, [*segments, "*"], "*", public))
                if binds:
                    self.module.globs.append(segments)
                return
            if token == "::" or not WORD.match(token):
                self.at += 1
                if token in (";", ""):
                    return
                continue
            self.at += 1
            if not (token == "self" and segments):
                segments.append(token)
            if self.peek() == "::":
                self.at += 1
                continue
            bound = segments[-1]
            if self.peek() == "as":
                bound = self.peek(1)
                self.at += 2
            self.module.paths.append((line, segments, bound, public))
            if binds and bound != "_":
                self.module.names.setdefault(bound, []).append(segments)
            return

    def path(self, line):
        """A name or a path in the code."""
        before = self.tokens[self.at - 1][1] if self.at else ""
        segments = [self.peek().rstrip("!")]
        self.at += 1
        while self.peek() == "::" and WORD.match(self.peek(1).rstrip("!")):
            segments.append(self.peek(1).rstrip("!"))
            self.at += 2
        if before in (".", "::"):
            return
        self.crate.words[id(self.module)].add(segments[0])
        if len(segments) > 1:
            self.module.paths.append((line, segments, None, False))


def circles(edges):
    """The groups of files that import each other in a loop, each sorted, in a fixed order (Tarjan's algorithm)."""
    to = {}
    for begin, end in edges:
        to.setdefault(begin, []).append(end)
        to.setdefault(end, [])
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        work = [(node, iter(sorted(to[node])))]
        index[node] = low[node] = len(index)
        stack.append(node)
        while work:
            node, ends = work[-1]
            for end in ends:
                if end not in index:
                    index[end] = low[end] = len(index)
                    stack.append(end)
                    work.append((end, iter(sorted(to[end]))))
                    break
                if end in stack:
                    low[node] = min(low[node], index[end])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = []
                    while True:
                        group.append(stack.pop())
                        if group[-1] == node:
                            break
                    if len(group) > 1:
                        found.append(sorted(group))

    for node in sorted(to):
        if node not in index:
            visit(node)
    return sorted(found)
