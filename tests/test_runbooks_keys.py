"""docs/runbooks/rotate-master-key.md and rotate-data-key.md: executed while clients read, which they always can."""

from pathlib import Path

from tests.runbooks import Installation
from tests.steady_clients import Clients
from tests.store_cast import scaled

REQUESTS = scaled(200, 5_000)  # before the pages, and after each


def test_keys_are_rotated_under_load(tmp_path: Path) -> None:
    with Installation(tmp_path) as here:
        token = here.new_token()
        here.start_servers(1)
        keys = tmp_path / "etc" / "master.key"
        [former] = keys.read_text().split()
        with Clients(here.url, token) as clients:
            clients.wait_for(REQUESTS)
            told = here.run("rotate-master-key.md")
            clients.wait_for(REQUESTS)
            rotated = here.run("rotate-data-key.md")
            clients.wait_for(REQUESTS)
        assert clients.failures == []
        assert keys.read_text().split()[1:] == [former]
        assert (tmp_path / "backups" / "master.key").read_text() == keys.read_text()
        assert here.query("select count(distinct master_key_id) from data_key") == [(1,)]
        assert "master_key.rotate" in told
        assert any(line.startswith("0 data keys and secrets wrapped") for line in told.splitlines())
        assert "version 1 retired" in rotated
        assert "version 2 in use" in rotated
        assert here.query("select distinct data_key_version from entry") == [(2,)]
