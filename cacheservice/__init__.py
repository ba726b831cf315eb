"""cacheservice: a hosted key-value cache for AI responses."""

from cacheservice.celery import app as celery_app

__all__ = ["celery_app"]
