"""The Celery application. Tasks are shells over functions that commands call too."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, task_postrun, task_prerun, worker_init, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cacheservice.settings")

app = Celery("cacheservice")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Django has set it up. Whoever listens here keeps Celery from lines of its own form."""


@worker_init.connect
def _check(**_: Any) -> None:
    """What Celery says of an exception here, it says and goes on."""
    from django.core.exceptions import ImproperlyConfigured

    from cacheservice import tracing

    try:
        tracing.wanted()
    except ImproperlyConfigured as error:
        raise SystemExit(f"The worker does not start: {error}") from None


@worker_process_init.connect
def _begin(**_: Any) -> None:
    """In each process that runs tasks."""
    from cacheservice import metrics_tasks, tracing

    metrics_tasks.listen()
    tracing.start("cacheservice-worker")
    if tracing.on:
        tracing.listen()


@task_prerun.connect
def _name_task(task_id: str, task: Any, **_: Any) -> None:
    """On each line of the log that it writes."""
    import structlog

    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)


@task_postrun.connect
def _forget_task(**_: Any) -> None:
    import structlog

    structlog.contextvars.clear_contextvars()
