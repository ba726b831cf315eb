"""Backends for other caching libraries, each of which is an extra: `pip install cacheservice-client[langchain]`."""
