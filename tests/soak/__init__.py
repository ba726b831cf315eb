"""`python -m tests.soak`: the whole service under steady mixed load for an hour, watched every ten seconds.

service.py starts it as `make run` does, load.py asks, watch.py looks at processes and tables, picture.py draws,
page.py writes docs/reliability.md.
"""
