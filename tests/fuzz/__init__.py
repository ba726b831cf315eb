"""Fuzzing of everything that takes apart what came from outside: `python -m tests.fuzz --seconds 30` (`make fuzz`).

`targets.py` has the table of what is fuzzed; `tests/test_fuzz.py` runs the same over seeds and some mutations of them.
"""
