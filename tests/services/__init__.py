"""Real services of Debian's packages for tests: private instances on free ports of 127.0.0.1, in directories of their
own, as an unprivileged user, stopped by pid. `python -m tests.services` (`make test-services`) runs tests with them.
"""
