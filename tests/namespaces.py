"""Machines of a network, as Linux sees it: network namespaces with two networks between them, which can fail.

Needs root, `ip` and the right to make namespaces; `Network` raises Unsupported where that is missing.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
BACK, FRONT = "back", "front"  # of the database, of the clients
_SUBNETS = {BACK: "10.77.1", FRONT: "10.77.2"}


class Unsupported(Exception):
    """This machine lets us make no namespaces; the message says why."""


class Network:
    """`with Network(["database", "one"]) as network:` machines that reach each other over both networks."""

    def __init__(self, machines: Sequence[str]) -> None:
        self._machines = list(machines)
        self._made: list[str] = []

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise Unsupported("network namespaces need root, and `ip` of iproute2")
        try:
            for name in ("switch", *self._machines):
                _ip("netns", "add", self._namespace(name))
                self._made.append(name)
                _ip("-n", self._namespace(name), "link", "set", "lo", "up")
            for network in _SUBNETS:
                _ip("-n", self._namespace("switch"), "link", "add", network, "type", "bridge")
                _ip("-n", self._namespace("switch"), "link", "set", network, "up")
                for number, machine in enumerate(self._machines):
                    self._connect(machine, network, f"port-{network}-{number}")
        except subprocess.CalledProcessError as error:
            self._remove()
            raise Unsupported(f"network namespaces cannot be made: {error.stderr.strip()}") from None
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._remove()

    def address(self, machine: str, network: str) -> str:
        return f"{_SUBNETS[network]}.{self._machines.index(machine) + 1}"

    @contextmanager
    def on(self, machine: str) -> Iterator[None]:
        """This thread is on the machine: sockets and processes that it makes inside are there."""
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self._namespace(machine)}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    @contextmanager
    def cut(self, machine: str, network: str) -> Iterator[None]:
        """Nothing gets through between the machine and the network; neither of them is told."""
        port = f"port-{network}-{self._machines.index(machine)}"
        _ip("-n", self._namespace("switch"), "link", "set", port, "nomaster")
        try:
            yield
        finally:
            _ip("-n", self._namespace("switch"), "link", "set", port, "master", network)

    @contextmanager
    def slow(self, machine: str, network: str, milliseconds: int) -> Iterator[None]:
        """What the machine sends takes so long. Raises Unsupported."""
        command = ["ip", "netns", "exec", self._namespace(machine), "tc", "qdisc"]
        try:
            _run(*command, "add", "dev", network, "root", "netem", "delay", f"{milliseconds}ms")
        except subprocess.CalledProcessError as error:
            raise Unsupported(f"this kernel has no netem: {error.stderr.strip()}") from None
        try:
            yield
        finally:
            _run(*command, "del", "dev", network, "root")

    def _namespace(self, machine: str) -> str:
        return f"cacheservice-{os.getpid()}-{machine}"

    def _connect(self, machine: str, network: str, port: str) -> None:
        switch, namespace = self._namespace("switch"), self._namespace(machine)
        _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", network, "netns", namespace)
        _ip("-n", switch, "link", "set", port, "master", network, "up")
        _ip("-n", namespace, "address", "add", f"{self.address(machine, network)}/24", "dev", network)
        _ip("-n", namespace, "link", "set", network, "up")

    def _remove(self) -> None:
        while self._made:
            _ip("netns", "delete", self._namespace(self._made.pop()))


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)


def _enter(descriptor: int) -> None:
    """os.setns, which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
