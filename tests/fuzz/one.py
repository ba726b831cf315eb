"""One target under atheris: `python -m tests.fuzz.one TARGET [libFuzzer's options]`, which `tests.fuzz` starts."""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # Linux on x86-64 only
import django

MEASURED = ["accounts", "cacheservice", "cacheservice_client", "gateway"]


def main() -> None:
    with atheris.instrument_imports(include=MEASURED, enable_loader_override=False):
        django.setup()
        from tests.fuzz.targets import MOST_BYTES, targets
    if sys.argv[1] == "--list":
        sys.stdout.write("\n".join(targets()) + "\n")
        return
    target = targets()[sys.argv[1]]
    with tempfile.TemporaryDirectory() as directory:
        for number, seed in enumerate(target.all_seeds()):
            (Path(directory) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], f"-max_len={MOST_BYTES}", *sys.argv[2:], directory], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
