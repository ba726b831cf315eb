"""What the service survives: kills, races and clocks, counted. `python -m tests.faults` runs all at full counts.

Each fault is a function of a count and a seed that returns an Outcome; `tests/test_faults.py` runs them, with small
counts in the ordinary test run.
"""
