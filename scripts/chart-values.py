#!/usr/bin/env python3
"""values.yaml of a chart -> its README, with a table of all values between two marks.

Usage: chart-values.py CHART     prints the README as it should be
A comment `# --` above a key says what it is. Lists and maps that end in a line of their own are defaults; what is below a key
with no children of its own that are documented is shown whole.
"""

import re
import sys

MARK = "<!-- values -->"
# Maps that are one value.
WHOLE = {"podSecurityContext", "securityContext", "resources", "nodeSelector", "updateStrategy", "tolerations", "dashboard.labels",
         "probes.startup", "probes.liveness", "probes.readiness"}


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def keys(lines):
    """(path, indent, value as text, comment, line number) of every key of a map."""
    stack, comment, found = [], [], []
    for number, line in enumerate(lines):
        text = line.strip()
        if text.startswith("#"):
            comment.append(text[1:].strip())
            continue
        match = re.match(r"^( *)([A-Za-z][\w./-]*):(?: (.*))?$", line)
        if not match:
            comment = []
            continue
        indent, key, value = len(match[1]), match[2], (match[3] or "").strip()
        while stack and stack[-1][0] >= indent:
            stack.pop()
        path = ".".join([name for _, name in stack] + [key])
        stack.append((indent, key))
        said = " ".join(comment)
        said = said[said.index("-- ") + 3:] if "-- " in said else ""
        found.append((path, indent, value, said, number))
        comment = []
    return found


def whole(lines, number, indent):
    """What stands below a line, in YAML's short form."""
    below = []
    for line in lines[number + 1:]:
        if not line.strip() or (len(line) - len(line.lstrip()) <= indent):
            break
        if not line.strip().startswith("#"):
            below.append(line)
    return short(below)


def short(block):
    """A block of YAML on one line."""
    items, index = [], 0
    indent = len(block[0]) - len(block[0].lstrip())
    is_list = block[0].lstrip().startswith("- ")
    while index < len(block):
        text, end = block[index].strip(), index + 1
        while end < len(block) and len(block[end]) - len(block[end].lstrip()) > indent:
            end += 1
        if is_list:
            items.append("{" + text[2:] + "}" if ":" in text else text[2:])
        elif end > index + 1:
            items.append(text + " " + short(block[index + 1:end]))
        else:
            items.append(text)
        index = end
    return ("[%s]" if is_list else "{%s}") % ", ".join(items)


def rows(chart):
    lines = lines_of(f"{chart}/values.yaml")
    found, inherited, table = keys(lines), {}, []
    for path, indent, value, said, number in found:
        if any(path.startswith(name + ".") for name in WHOLE):
            continue
        inherited[path] = said
        if path in WHOLE:
            value = whole(lines, number, indent)
        elif not value:
            # A heading: its words stand with its first value.
            continue
        parent = path.rpartition(".")[0]
        if not said and parent:
            said = inherited.pop(parent, "")
        table.append((path, value, said))
    return table


def main():
    chart = sys.argv[1]
    readme = open(f"{chart}/README.md", encoding="utf-8").read()
    before, _, after = readme.split(MARK)
    escape = lambda text: text.replace("|", "\\|")
    table = ["| Value | Default | Meaning |", "| --- | --- | --- |"]
    for path, value, said in rows(chart):
        table.append(f"| `{path}` | `{escape(value)}` | {escape(said)} |".replace("|  |", "| |"))
    sys.stdout.write(f"{before}{MARK}\n" + "\n".join(table) + f"\n{MARK}{after}")


main()
