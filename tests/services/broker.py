"""What the tests ask of a broker, whichever it is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from kombu import Connection

from cacheservice.supervisor import Child
from tests.processes import free_port, wait_for

START_SECONDS = 180.0  # RabbitMQ needs four seconds of a processor


class Broker(ABC):
    """Its data stay in its directory when it stops, and it comes back at the same address."""

    url: str  # as `CELERY_BROKER_URL` takes it

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def launch(self) -> list[Child]:
        """Start its processes: the broker last."""

    def start(self) -> None:
        """Returns once it takes connections. Raises supervisor.Failed when it ends instead."""
        try:
            self._children = self.launch()
            wait_for(self._answers, START_SECONDS, f"the broker at port {self.port} answers")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        while self._children:
            self._children.pop().stop()

    def _answers(self) -> bool:
        for child in self._children:
            child.check()
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except connection.recoverable_connection_errors:
            return False
        return True
