"""What a fault program tells."""

import sys
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """How often it was tried, what happened meanwhile by name, and everything that should not have happened."""

    count: int
    seen: dict[str, int] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)

    def expect(self, holds: bool, deviation: str) -> None:
        if not holds:
            self.deviations.append(deviation)

    def add(self, name: str, number: int) -> None:
        self.seen[name] = self.seen.get(name, 0) + number


def progress(done: int, count: int, outcome: Outcome) -> None:
    """A line now and then, for whoever waits."""
    if done % max(1, count // 10) == 0 or done == count:
        seen = ", ".join(f"{number:,} {name}" for name, number in outcome.seen.items())
        sys.stderr.write(f"  {done:,} of {count:,}: {seen}; {len(outcome.deviations)} deviations\n")
