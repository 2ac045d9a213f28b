#!/usr/bin/env python3
"""Two files that `make bench` has written → a table of what has changed, the base first.

Usage: bench-compare.py BASE.json NEW.json
"""

import json
import signal
import sys

KEYS = {
    "loads": "load",
    "sizes": "connections",
    "workers": "workers",
}


def numbers(path):
    """Every number of the file, by (part, what, name)."""
    with open(path, encoding="utf-8") as file:
        parts = json.load(file)
    found = {}
    for part, key in KEYS.items():
        for row in parts.get(part, []):
            for name, value in row.items():
                if name != key and isinstance(value, (int, float)):
                    found[part, str(row[key]), name] = value
    return found


def main():
    # A reader that has seen enough is no fault.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    base, new = numbers(sys.argv[1]), numbers(sys.argv[2])
    print(f"{'':<26}{'':<36}{'base':>14}{'new':>14}{'new/base':>10}")
    for place, value in new.items():
        before = base.get(place)
        if not before or value == before or place[2] in ("packets", "exchanges"):
            continue
        print(f"{place[1]:<26}{place[2]:<36}{before:>14.1f}{value:>14.1f}{value / before:>10.2f}")


main()
