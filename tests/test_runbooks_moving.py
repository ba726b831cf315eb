"""docs/runbooks/embedded-to-external.md: executed; and what is refused."""

import shutil
from pathlib import Path

import httpx
import pytest

from cacheservice.database_copy import CannotCopy, copy_embedded
from tests.runbooks import Installation, as_url, migrated_database
from tests.store_cast import database_dsn, new_tenant


def test_trial_becomes_an_installation(tmp_path: Path) -> None:
    with Installation(tmp_path / "trial") as trial:
        token = trial.new_token()
        headers = {"Authorization": f"Bearer {token}"}
        trial.start_servers(1)
        for key, value in (("greeting", "Hello!"), ("long", "x" * 100_000)):
            url = f"{trial.url}/api/v1/cache/{key}"
            assert httpx.put(url, json={"value": value, "tags": ["a", "b"]}, headers=headers).is_success
            assert httpx.get(url, headers=headers).json()["hit"]
        plans = trial.query("select count(*) from plan")
    var = trial.database.var_dir
    for name in ("master.key", "secret.key"):  # where `make run` has them
        shutil.copy(tmp_path / "trial" / "etc" / name, var)
    with Installation(tmp_path / "new", migrated=False) as here:
        # As in production: a role that owns the database, and is nobody else's superior.
        here.query("create role service login")
        here.query("alter database cacheservice owner to service")
        here.write_environment(as_url(here.dsn).replace("postgres@", "service@"))
        here.more_places = {"/srv/trial/var": str(var)}
        here.variables = {"CACHE_API_KEY": token}
        told = here.run("embedded-to-external.md")
        assert "entry: 2" in told
        assert "everything adds up" in told
        assert '"value":"Hello!"' in told
        found = httpx.get(f"{here.url}/api/v1/cache/long", headers=headers).json()
        assert found["value"] == "x" * 100_000
        [(total,)] = here.query("select sum(hits) from receipt")
        assert total == 4  # two there, the page's, and ours
        assert here.query("select count(*) from plan") == plans
        # Its rows' numbers go on: a permission, a session.
        here.query("insert into auth_group (name) values ('after')")


def test_database_that_is_in_use_is_not_overwritten(tmp_path: Path) -> None:
    new_tenant()
    var = tmp_path / "var"
    shutil.copytree(migrated_database(), var)
    with pytest.raises(CannotCopy, match="tenants already"):
        copy_embedded(var, database_dsn())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotCopy, match="there is no embedded database"):
        copy_embedded(tmp_path, database_dsn())
