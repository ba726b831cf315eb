"""RabbitMQ as a broker: one node with its own port mapper, which it would else leave behind."""

import os
import secrets
from pathlib import Path

from cacheservice.supervisor import Child
from tests.processes import HOST, free_port
from tests.services import debian, unprivileged
from tests.services.broker import Broker

USER = "cacheservice"
# One scheduler that sleeps where it has nothing to do: the processors are the tests'. The mapper is not its to start.
ERLANG = "+S 1:1 +sbwt none +A 4 -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ(Broker):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        password = secrets.token_urlsafe(24)
        self.url = f"amqp://{USER}:{password}@{HOST}:{self.port}//"
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(
            f"listeners.tcp.1 = {HOST}:{self.port}\ndefault_user = {USER}\ndefault_pass = {password}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        )
        unprivileged.give(configuration)
        configuration.chmod(0o600)
        self._environment = {
            **os.environ,
            "HOME": str(directory),  # where the node makes its cookie
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": "cacheservice@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "no-environment"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "no-plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        }

    def launch(self) -> list[Child]:
        mapper = self._child("Erlang's port mapper", "epmd")
        return [mapper, self._child("RabbitMQ", "rabbitmq-server")]

    def _child(self, name: str, program: str) -> Child:
        return Child.start(
            name,
            unprivileged.command(debian.program(program)),
            log_path=self.directory / f"{program}.log",
            directory=self.directory,
            environment=self._environment,
        )
