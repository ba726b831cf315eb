"""The table of what tasks did."""

from django.db import models


class TaskRun(models.Model):
    """A task's runs, for the metrics: which process ran them does not matter."""

    name = models.TextField(primary_key=True)
    runs = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)  # of the runs
    ended_at = models.DateTimeField(null=True)
    succeeded_at = models.DateTimeField(null=True)
    seconds = models.FloatField(default=0)  # that the latest took
    found = models.BigIntegerField(null=True)  # of one that looks for what is wrong: how much of it there is

    class Meta:
        db_table = "task_run"

    def __str__(self) -> str:
        return self.name
