"""Caddy and nginx with the files of deploy/, in front of a server of the tests, with TLS on free ports of 127.0.0.1.

Of a file only what has to differ here is replaced, and each replacement must find its place: names, ports,
certificates and logs.
"""

import datetime as dt
import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cacheservice.supervisor import Child
from tests.processes import HOST, ROOT, free_port

DEPLOY = ROOT / "deploy"
START_SECONDS = 30


@dataclass(frozen=True)
class RunningProxy:
    name: str
    port: int
    authority: Path  # the certificate that signed its own
    directory: Path  # with all of its logs

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    def logged(self) -> str:
        return "".join(path.read_text() for path in sorted(self.directory.glob("*.log")))


def program(name: str) -> str | None:
    """Where it is installed; Debian keeps nginx out of the path of ordinary users."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def running_caddy(directory: Path, server_port: int) -> Iterator[RunningProxy]:
    """With Caddy's own certificate authority, as `tls internal` makes it."""
    port, home = free_port(), directory / "caddy"
    home.mkdir()
    text = replaced(
        (DEPLOY / "Caddyfile").read_text(),
        {
            "{\n\tservers {": "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tservers {",
            "{$CADDY_SITE:cache.example.com} {": "{$CADDY_SITE:cache.example.com} {\n\ttls internal",
        },
    )
    (directory / "Caddyfile").write_text(text)
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_DATA_HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "CADDY_SITE": f"https://localhost:{port}",
        "CADDY_SERVERS": f"{HOST}:{server_port}",
    }
    command = [program("caddy") or "caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]
    proxy = RunningProxy("caddy", port, home / "caddy/pki/authorities/local/root.crt", directory)
    with _running(proxy, command, environment):
        yield proxy


@contextmanager
def running_nginx(directory: Path, server_port: int) -> Iterator[RunningProxy]:
    port, plain_port = free_port(), free_port()
    certificate, key = _certificate(directory)
    text = replaced(
        (DEPLOY / "nginx" / "cacheservice.conf").read_text(),
        {
            "server 127.0.0.1:8000 ": f"server {HOST}:{server_port} ",
            "listen 80;": f"listen {HOST}:{plain_port};",
            "    listen [::]:80;\n": "",
            "listen 443 ssl http2;": f"listen {HOST}:{port} ssl http2;",
            "    listen [::]:443 ssl http2;\n": "",
            "server_name cache.example.com;": "server_name localhost;",
            "/etc/letsencrypt/live/cache.example.com/fullchain.pem": str(certificate),
            "/etc/letsencrypt/live/cache.example.com/privkey.pem": str(key),
            "/var/log/nginx/cacheservice.log": str(directory / "access.log"),
            "/var/log/nginx/cacheservice-error.log": str(directory / "error.log"),
        },
    )
    (directory / "cacheservice.conf").write_text(text)
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off;\npid {directory}/nginx.pid;\nerror_log {directory}/main.log;\n"
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"events {{}}\nhttp {{\n{temporary}include {directory}/cacheservice.conf;\n}}\n"
    )
    command = [program("nginx") or "nginx", "-e", str(directory / "main.log"), "-c", str(directory / "nginx.conf")]
    proxy = RunningProxy("nginx", port, certificate, directory)
    with _running(proxy, command, os.environ):
        yield proxy


PROXIES = {"caddy": running_caddy, "nginx": running_nginx}


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, f"the file has no {old!r} any more"
        text = text.replace(old, new)
    return text


@contextmanager
def _running(proxy: RunningProxy, command: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    log_path = proxy.directory / f"{proxy.name}.log"
    child = Child.start(proxy.name, command, log_path=log_path, directory=proxy.directory, environment=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (proxy.authority.exists() and _listens(proxy)):
            child.check()
            assert time.monotonic() < deadline, f"{proxy.name} does not answer: {proxy.logged()[-2000:]}"
            time.sleep(0.05)
        yield
    finally:
        child.stop()


def _listens(proxy: RunningProxy) -> bool:
    """Whether TLS works: Caddy makes its certificate after it listens."""
    try:
        with (
            socket.create_connection((HOST, proxy.port), timeout=5) as plain,
            proxy.trust().wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for `localhost`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
