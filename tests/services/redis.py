"""Redis as a broker: messages are on disk after an orderly stop."""

import secrets
from pathlib import Path

from cacheservice.supervisor import Child
from tests.processes import HOST
from tests.services import debian, unprivileged
from tests.services.broker import Broker


class Redis(Broker):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        password = secrets.token_urlsafe(24)
        self.url = f"redis://:{password}@{HOST}:{self.port}/0"
        self._configuration = directory / "redis.conf"  # a file, for arguments are for everybody to see
        self._configuration.write_text(
            f"bind {HOST}\nport {self.port}\ndir {directory}\nrequirepass {password}\nsave 3600 1\n"
        )
        unprivileged.give(self._configuration)
        self._configuration.chmod(0o600)

    def launch(self) -> list[Child]:
        command = unprivileged.command(debian.program("redis-server"), str(self._configuration))
        return [Child.start("Redis", command, log_path=self.directory / "redis.log", directory=self.directory)]
