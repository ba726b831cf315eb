"""`@cache.memoize`: a function's results, under keys made of its name and arguments."""

import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from cacheservice_client.canonical_json import canonical_json
from cacheservice_client.keys import Version, content_key, digest_key

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class Memoized(Protocol[P, T_co]):
    """A function whose results are cached."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

    @overload
    def __get__(self, instance: None, owner: type) -> "Memoized[P, T_co]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., T_co]: ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of this call's result."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Delete this call's result; tells whether there was one."""


class AsyncMemoized(Protocol[P, T_co]):
    """A coroutine function whose results are cached."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T_co]: ...

    @overload
    def __get__(self, instance: None, owner: type) -> "AsyncMemoized[P, T_co]": ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Awaitable[T_co]]: ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key of this call's result."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[bool]:
        """Delete this call's result; tells whether there was one."""


class CallKey:
    """The key of a call: `memo:<module>.<function>[:<version>]:` and the digest of its arguments, or what `key` makes
    of them. It does not matter which arguments are given by name or left to their defaults."""

    def __init__(self, function: Callable[..., Any], key: Callable[..., str] | None, version: Version) -> None:
        if function.__name__ == "<lambda>":
            raise TypeError("memoize: a lambda has no name to make keys of; define a function")
        self._name = f"{_module(function)}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        self._key = key
        self._version = version

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        end = self._digest(*args, **kwargs) if self._key is None else self._key(*args, **kwargs)
        return digest_key(f"memo:{self._name}", self._version, end)

    def _digest(self, *args: Any, **kwargs: Any) -> str:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return sha256(b",".join(self._argument(*argument) for argument in bound.arguments.items())).hexdigest()

    def _argument(self, name: str, value: Any) -> bytes:
        try:
            if isinstance(value, bytes):
                return canonical_json([name, "bytes", content_key(value)])
            return canonical_json([name, "json", value], any_number=True)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self._name}: argument '{name}': {error}; or give memoize a key=") from None


def dressed(
    memoized: Callable[..., Any], function: Callable[..., Any], call_key: CallKey, delete: Callable[[str], Any]
) -> Callable[..., Any]:
    """The memoized function with the name, the signature and the rest of the function that it stands for."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("memoize: a generator's values come one by one; make a function that returns them all")
    attributes = {"cache_key": call_key, "invalidate": lambda *args, **kwargs: delete(call_key(*args, **kwargs))}
    vars(update_wrapper(memoized, function)).update(attributes)
    return memoized


def _module(function: Callable[..., Any]) -> str:
    """The module's name; the script's where that is `__main__`, which every script is."""
    if function.__module__ != "__main__":
        return function.__module__
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else "__main__"
