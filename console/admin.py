"""What operators see and do at /staff/. Entries, values and secrets are not here, and nobody becomes somebody else."""

from console import staff_money, staff_people, staff_terms  # noqa: F401  # each registers its own
