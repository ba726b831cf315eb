"""Every fault: what is tried, by which tests, and how often at full count."""

from dataclasses import dataclass

FAULTS, DATABASE, LEASES = "tests/test_faults.py", "tests/test_database_failures.py", "tests/test_lease_races.py"
HOSTILE, ROTATION = "tests/test_gateway_hostile.py", "tests/test_rotation.py"
CASES = 150  # of schemathesis; CACHE_TEST_SCALE=full alone sends 10,000, which takes hours


@dataclass(frozen=True)
class Fault:
    """`count` and `seen` where the tests do not tell them; without a count it is that of the tests."""

    name: str
    what: str
    tests: tuple[str, ...]
    count: str = ""
    seen: str = ""


ALL = (
    Fault(
        "server-kill",
        "SIGKILL of a server process, one of three, under 64 clients that write, read and delete",
        (f"{FAULTS}::test_killed_servers_lose_nothing_and_charge_for_nothing",),
    ),
    Fault(
        "database-kill",
        "SIGKILL of all processes of PostgreSQL under 64 clients; serving again within 10 s",
        (f"{FAULTS}::test_killed_database_loses_nothing_and_charges_for_nothing",),
    ),
    Fault(
        "cut",
        "a connection to PostgreSQL cut at any byte of a round trip, while refunding too",
        (f"{FAULTS}::test_connections_cut_at_commit_charge_nobody_for_nothing",),
    ),
    Fault(
        "terminate",
        "all connections to PostgreSQL ended by it, every tenth of a second, under 16 clients",
        (f"{DATABASE}::test_terminated_backends_under_load_lose_nothing_acknowledged",),
        count="300",
    ),
    Fault(
        "silence",
        "PostgreSQL restarted under idle connections, stopped, or silent: the next request is served, or told in time",
        (
            f"{DATABASE}::test_restart_under_idle_connections_is_not_noticed_by_the_next_request",
            f"{DATABASE}::test_stopped_processes_of_the_database_end_every_request_in_time",
            f"{DATABASE}::test_silent_database_ends_every_request_in_time",
            f"{DATABASE}::test_database_silent_right_after_connecting_is_given_up",
        ),
    ),
    Fault(
        "database-gone",
        "PostgreSQL gone for 60 s under 16 clients: 503 in less than 1 s at p99, at most 60 descriptors and 150 MB "
        "more, and no restart of the server",
        (f"{DATABASE}::test_database_gone_for_a_while_is_told_fast",),
        count="1",
    ),
    Fault(
        "clients",
        "clients at once, five requests each: connections to PostgreSQL stay at the cap",
        ("tests/test_many_clients.py",),
        count="2,000",
    ),
    Fault(
        "credits",
        "credits for 100 hits, 256 GETs at once: exactly 100 are paid",
        (f"{FAULTS}::test_credits_for_some_hits_pay_for_exactly_those",),
    ),
    Fault(
        "quota",
        "64 PUTs at once that straddle the quota: it is not passed, and what fits is not refused for good",
        (f"{FAULTS}::test_writers_straddling_the_quota_never_pass_it",),
    ),
    Fault(
        "leases",
        "identical misses in four processes: one fill; its holder killed, or stopped past its lease: the next fills",
        (
            f"{LEASES}::test_many_misses_in_several_processes_are_filled_once",
            f"{LEASES}::test_holder_that_is_gone_or_late_is_replaced",
        ),
        count="500",
        seen="a killed and a late holder, 20 waiters each",
    ),
    Fault(
        "delete-fill",
        "a DELETE during a fill, over another connection: no stale value comes back",
        (f"{LEASES}::test_deletion_during_a_fill_leaves_nothing",),
        count="10,000",
    ),
    Fault(
        "purge",
        "purge against renewals of entries that are just expiring: no live one is removed",
        ("tests/test_purge.py::test_purge_beside_renewals_removes_nothing_live",),
        count="300,000",
        seen="a third each by PATCH, by PUT and by SQL",
    ),
    Fault(
        "tasks",
        "every scheduled task run twice at once, and again afterwards: effects once",
        (f"{FAULTS}::test_tasks_that_run_twice_have_their_effects_once",),
    ),
    Fault(
        "rollup-kill",
        "SIGKILL of a rollup before or after any of its statements: totals = Σ receipts",
        ("tests/test_rollup.py::test_rollup_killed_midway_loses_nothing_and_counts_nothing_twice",),
        count="200",
    ),
    Fault(
        "byte-seconds",
        "operations by six API keys on a clock of the test's own: byte-microseconds a key and a day against a replay",
        (f"{FAULTS}::test_byte_seconds_are_those_of_a_replay",),
    ),
    Fault(
        "midnight",
        "a UTC midnight while 64 requests are under way: each is in one day, one that it touched",
        (f"{FAULTS}::test_requests_over_midnight_are_each_in_one_day",),
    ),
    Fault(
        "budget",
        "a budget for 10 calls of the gateway, 800 at once from four processes: exactly 10 are let through",
        ("tests/test_gateway_budget_races.py::test_budget_for_ten_calls_lets_ten_of_several_processes_pass",),
        count="40",
    ),
    Fault(
        "budget-kill",
        "SIGKILL of a process while it reserves and settles: what may have been spent counts",
        ("tests/test_gateway_budget_races.py::test_killed_processes_leave_their_calls_counted",),
        count="40",
    ),
    Fault(
        "openapi",
        "requests made by schemathesis from the OpenAPI document, to it and against it: all checks hold, none is a 500",
        ("tests/test_openapi.py",),
        seen=f"{CASES} for each operation to the document, and {CASES} against it",
    ),
    Fault(
        "keys",
        "keys of every Unicode category, of dots, escapes, emoji, right-to-left text, 512 and 513 bytes: exact, or 400",
        ("tests/test_keys_unicode.py",),
    ),
    Fault(
        "values",
        "values deep, large, duplicate, broken off, without end, slow, of a wrong length: exact, or a clear 4xx",
        ("tests/test_values_hostile.py",),
    ),
    Fault(
        "upstreams",
        "upstreams that drip, break off, lie, hang or fail, JSON and streams: the client is told, nothing is stored",
        (HOSTILE, "-k", "not floods and not leave_midway"),
    ),
    Fault(
        "leavers",
        "clients of the gateway that leave midway, by either policy: no reservation stays, each call is booked once",
        (f"{HOSTILE}::test_clients_that_leave_midway_leave_no_reservation",),
        count="2,000",
    ),
    Fault(
        "floods",
        "10 GB from an upstream, as JSON, as events, as one event: at most 64 MB more memory, and the client is told",
        (f"{HOSTILE}::test_floods_take_little_memory",),
        count="400",
    ),
    Fault(
        "routes",
        "every route without an API key, with one that is malformed, unknown, expired, revoked, another tenant's, or "
        "lacks the scope: refused",
        ("tests/test_routes_refuse.py",),
    ),
    Fault(
        "tampering",
        "Wycheproof's vectors, every changed byte of a sealed value, rows swapped between keys, tenants and versions: "
        "never opens, never charged",
        ("tests/test_tampering.py", "tests/test_crypto.py", "-k", "not nonce_repeats"),
    ),
    Fault(
        "nonces",
        "sealings in four forked processes: no nonce repeats",
        ("tests/test_crypto.py::test_no_nonce_repeats_over_forked_processes",),
        count="10,000,000",
    ),
    Fault(
        "rotations",
        "rotations of master and data keys under clients that write and read: all stays readable, and no row "
        "stays under a former key",
        (
            f"{ROTATION}::test_master_key_is_rotated_under_load",
            f"{ROTATION}::test_data_key_is_rotated_under_load",
        ),
        count="300",
        seen="100 of the master key, 100 of each of two tenants' data keys",
    ),
    Fault(
        "rotation-kill",
        "SIGKILL of a rotation of the master key or a data key at one of its statements, under clients: the same",
        (f"{FAULTS}::test_killed_rotations_leave_everything_readable",),
    ),
    Fault(
        "deleted",
        "a deleted tenant, then its rows put back from a copy, but for the data keys: nothing opens",
        (f"{FAULTS}::test_deleted_tenants_open_nowhere",),
    ),
    Fault(
        "canaries",
        "canary secrets sent through every error path: none in logs, metrics, broker, pages or any row of any table",
        ("tests/test_logs.py",),
    ),
    Fault(
        "revocation",
        "an API key revoked while two server processes answer it: what is sent afterwards is refused",
        (f"{FAULTS}::test_revoked_keys_are_refused_by_every_process",),
    ),
    Fault(
        "inside",
        "spellings of private addresses as a provider's URL, and a name that resolves anew: no connection inside",
        ("tests/test_gateway_egress.py",),
        count="579",
        seen="161 hosts three ways, 48 URLs two ways",
    ),
    Fault(
        "inside-webhooks",
        "the same as a webhook's URL",
        ("tests/test_webhook_egress.py", "tests/test_webhooks.py"),
        count="579",
        seen="161 hosts three ways, 48 URLs two ways",
    ),
    Fault(
        "console",
        "the console: CSRF, sessions, framing, markup in keys, tags and values, open redirects, throttles, second "
        "factors, content security policy",
        (
            "tests/test_console_access.py",
            "tests/test_console_assets.py",
            "tests/test_console_cookies.py",
            "tests/test_console_entries.py",
            "tests/test_console_second_factors.py",
            "tests/test_console_signing_in.py",
        ),
    ),
)
