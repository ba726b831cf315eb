"""The benchmark: `make bench`, or `python -m bench --help`. What it found is in docs/performance.md."""
