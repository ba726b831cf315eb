"""Run the tests on real services: `python -m tests.services [-- what pytest takes]`, the whole suite by default.

Installs what is missing where it may, starts Debian's PostgreSQL, runs pytest with DATABASE_URL on it and with the
tests of brokers, which start their own, and stops it again. Exits as pytest does, and with 2 if something is missing.
"""

import os
import signal
import subprocess
import sys

from cacheservice.embedded import EmbeddedError
from cacheservice.supervisor import StopRequested, stop_on_signals
from tests.processes import ROOT
from tests.services import debian, unprivileged
from tests.services.postgres import running_postgres

WHOLE_SUITE = ["-n", "2"]
BROKERS = "redis rabbitmq"


def main(arguments: list[str]) -> int:
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments
    try:
        debian.install()
        with stop_on_signals(), unprivileged.own_directory() as directory, running_postgres(directory) as dsn:
            environment = {**os.environ, "DATABASE_URL": dsn, "CACHE_TEST_BROKERS": BROKERS}
            environment.pop("DJANGO_SETTINGS_MODULE", None)  # by our imports: pytest takes it for its own
            command = [sys.executable, "-m", "pytest", *(arguments or WHOLE_SUITE)]
            with subprocess.Popen(command, cwd=ROOT, env=environment) as tests:
                try:
                    return tests.wait()
                except StopRequested:
                    tests.send_signal(signal.SIGINT)  # which makes pytest stop what it started
                    raise
    except (debian.Missing, EmbeddedError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except StopRequested:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
