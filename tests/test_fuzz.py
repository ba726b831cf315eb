"""Every fuzzing target over its seeds and some mutations of them, the same each time: `make fuzz` goes further."""

import random

import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import MOST_BYTES, targets
from tests.store_cast import scaled

MUTATIONS = scaled(250, 20_000)


@pytest.mark.parametrize("name", targets())
def test_target(name: str) -> None:
    target, chance = targets()[name], random.Random(name)
    seeds = target.all_seeds()
    for seed in seeds:
        target(seed)
    for _ in range(MUTATIONS):
        data = mutated(chance, seeds)[:MOST_BYTES]
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"{name} of {data!r}") from error
