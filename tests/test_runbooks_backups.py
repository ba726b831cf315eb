"""docs/runbooks/backup-and-restore.md and database-failover.md: executed; what is restored adds up."""

from pathlib import Path

import httpx

from tests.processes import wait_for
from tests.runbooks import Installation, as_url
from tests.store_cast import query, scaled

ENTRIES = scaled(40, 2_000)


class Client:
    """Writes and reads entries."""

    def __init__(self, here: Installation, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{here.url}/api/v1/cache", headers=headers, timeout=30)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def write(self, name: str) -> None:
        for number in range(ENTRIES):
            answer = self._http.put(f"/{name}-{number}", json={"value": f"{name} {number}", "tags": [name]})
            assert answer.is_success, answer.text
            assert self._http.get(f"/{name}-{number}").json()["hit"]

    def hits(self, name: str) -> int:
        """How many of them are there, each with its value."""
        answers = [self._http.get(f"/{name}-{number}").json() for number in range(ENTRIES)]
        found = [each["value"] for each in answers if each["hit"]]
        assert all(value.startswith(f"{name} ") for value in found)
        return len(found)


def test_restore_to_a_moment(tmp_path: Path) -> None:
    page = "backup-and-restore.md"
    once, nightly, stop, restore, reconcile, start = range(1, 7)
    with Installation(tmp_path) as here:
        token = here.new_token()
        here.run(page, once)
        here.start_servers(1)
        with Client(here, token) as client:
            client.write("early")
            here.run(page, nightly)
            client.write("late")
            [(moment,)] = here.query("select clock_timestamp()::text")
            client.write("lost")
        here.query("update api_key set revoked_at = now()")
        here.more_places = {"2026-11-21 03:14:15+00": str(moment)}
        here.run(page, stop)
        here.run(page, restore)
        assert "everything adds up" in here.run(page, reconcile)
        here.run(page, start)
        # The API key was revoked after the moment: the page says that it is valid again.
        with Client(here, token) as client:
            assert [client.hits(name) for name in ("early", "late", "lost")] == [ENTRIES, ENTRIES, 0]
            client.write("lost")
        assert "everything adds up" in here.run(page, reconcile)


def test_standby_takes_over(tmp_path: Path) -> None:
    page = "database-failover.md"
    follow, lag, lose, promote, reconcile = range(1, 6)
    with Installation(tmp_path) as here:
        token = here.new_token()
        assert here.run(page, lag).strip() == "no standby follows"
        here.query("create role replicator replication login")
        here.run(page, follow)
        both = as_url(here.database.dsn(), here.standby.dsn())
        here.write_environment(f"{both}&target_session_attrs=read-write")
        here.start_servers()
        with Client(here, token) as client:
            client.write("kept")
        lag_of = "select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 1) from pg_stat_replication"
        wait_for(lambda: query(lag_of, dsn=here.dsn) == [(0,)], 60, "the standby has all")
        assert int(here.run(page, lag)) == 0
        here.run(page, lose)
        here.run(page, promote)
        assert "everything adds up" in here.run(page, reconcile)
        with Client(here, token) as client:
            assert client.hits("kept") == ENTRIES
            client.write("more")
