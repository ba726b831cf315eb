"""The Celery application. Tasks are shells over functions that commands call too."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cacheservice.settings")

app = Celery("cacheservice")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
