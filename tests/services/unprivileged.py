"""What root starts here runs as `nobody`, in a directory of its own that no other user can enter."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "nobody"


@contextmanager
def own_directory() -> Iterator[Path]:
    """A new one that services can write to; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="cacheservice-services-"))
    try:
        give(path)
        yield path
    finally:
        shutil.rmtree(path)


def give(path: Path) -> None:
    """Let the service own this file or directory."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(path, account.pw_uid, account.pw_gid)


def command(*words: str, reaching_all: bool = False) -> list[str]:
    """The command as the unprivileged user, stopped when we die. With `reaching_all` root's directories do not stop it:
    the socket of the tests' embedded PostgreSQL is behind one."""
    if os.geteuid() != 0:
        return list(words)
    account = pwd.getpwnam(USER)
    # Here too, because the kernel forgets the parent-death signal when a process changes its user.
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--pdeathsig=TERM"]
    capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"] if reaching_all else []
    return [*drop, *capabilities, "--", *words]
