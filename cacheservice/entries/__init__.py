"""The cache: entries, their encryption, the store and its transports."""
