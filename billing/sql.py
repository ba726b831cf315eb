"""The statements on what tenants use."""

from typing import Final

# A tenant's live storage in bytes, over all its keys and spaces: what the quota counts.
STORAGE_USED: Final = """
select coalesce(sum(size), 0)::bigint from entry
where tenant_id = %(tenant_id)s and expires_at > statement_timestamp()
"""
