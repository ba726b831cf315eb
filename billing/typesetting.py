"""The program that sets one PDF and ends: `pdf.py` runs it apart, for typst keeps what it has set in memory.

    python typesetting.py TEMPLATE TIMESTAMP < document.json > document.pdf

TIMESTAMP, seconds since 1970, is what the PDF says of its making.
"""

import os
import sys

import typst

LOWER_PRIORITY = 10  # hits go first


def main(template: str, timestamp: str) -> None:
    os.nice(LOWER_PRIORITY)
    pdf = typst.compile(
        template,
        ignore_system_fonts=True,
        sys_inputs={"document": sys.stdin.buffer.read().decode()},
        timestamp=int(timestamp),
    )
    sys.stdout.buffer.write(pdf)


if __name__ == "__main__":
    main(*sys.argv[1:])
