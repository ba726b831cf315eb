"""A provider of AI for tests and benchmarks: a real HTTP server that speaks the formats of OpenAI and Anthropic.

It answers deterministically from the prompt, but each answer has an id of its own, so that one from a cache can be
told from a new one. A word, with the white space after it, is a token. What else it should do is said in the request:
see directions.py. Tests start it with `tests.upstreams.running_upstream`.
"""
