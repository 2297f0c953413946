"""An interface as the wire sees it: methods, arguments, results and streams, read from the type hints.

A method is a plain call (`async def`), may have one parameter `AsyncIterator[bytes]` (upload), or is a `def`
that returns `AsyncIterator[X]` (download). Arguments travel as an array: a newer release may add more, with
defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    service: str
    name: str
    download: bool
    chunks: bool
    """The stream's items are bytes: large ones are cut."""
    upload: str
    """Name of the parameter that is a stream; empty: none."""
    upload_at: int
    arguments: type[msgspec.Struct]
    decode_arguments: Callable[[msgspec.Raw], Any]
    decode_result: Callable[[msgspec.Raw], Any]
    """Of the result, or of one item of a download. Raises msgspec.MsgspecError."""

    def pack(
        self, positional: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[msgspec.Struct, AsyncIterator[bytes] | None]:
        """Arguments apart from the stream. Raises TypeError as the method itself would."""
        if not self.upload:
            return self.arguments(*positional, **named), None
        if len(positional) > self.upload_at:
            rest = (*positional[: self.upload_at], *positional[self.upload_at + 1 :])
            return self.arguments(*rest, **named), positional[self.upload_at]
        if self.upload not in named:
            raise TypeError(f"{self.name}() misses the argument {self.upload!r}")
        others = {name: argument for name, argument in named.items() if name != self.upload}
        return self.arguments(*positional, **others), named[self.upload]

    def unpack(self, raw: msgspec.Raw, stream: AsyncIterator[bytes] | None) -> list[Any]:
        """Positional arguments. Raises msgspec.MsgspecError."""
        arguments = list(msgspec.structs.astuple(self.decode_arguments(raw)))
        if self.upload:
            arguments.insert(self.upload_at, stream)
        return arguments


def service_name(interface: Any) -> str:
    return str(interface.__name__)


@cache
def methods_of(interface: Any) -> Mapping[str, Method]:
    """Methods of a Protocol class by name. Raises TypeError for one that can't be called from afar."""
    return {
        name: _method(service_name(interface), name, function)
        for name, function in inspect.getmembers(interface, inspect.isfunction)
        if not name.startswith("_")
    }


def _method(service: str, name: str, function: Callable[..., Any]) -> Method:
    hints = get_type_hints(function)
    upload, upload_at = "", -1
    fields: list[Any] = []
    for position, parameter in enumerate(list(inspect.signature(function).parameters.values())[1:]):
        hint = hints[parameter.name]
        if get_origin(hint) is AsyncIterator:
            if upload or get_args(hint) != (bytes,):
                raise TypeError(f"{service}.{name}: one parameter may be a stream, of bytes")
            upload, upload_at = parameter.name, position
        elif parameter.default is inspect.Parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, parameter.default))
    result = hints.get("return", None)
    download = not inspect.iscoroutinefunction(function)
    if download:
        if get_origin(result) is not AsyncIterator or upload:
            raise TypeError(f"{service}.{name} must be `async def`, or return AsyncIterator and take none")
        (result,) = get_args(result)
    arguments = msgspec.defstruct(f"{service}_{name}", fields, array_like=True, frozen=True)
    return Method(
        service=service,
        name=name,
        download=download,
        chunks=download and result is bytes,
        upload=upload,
        upload_at=upload_at,
        arguments=arguments,
        decode_arguments=_decoder(arguments),
        decode_result=_decoder(result),
    )


def _decoder(kind: Any) -> Callable[[msgspec.Raw], Any]:
    """Raises msgspec.MsgspecError alone: the library tells of text that is not UTF-8 in another way."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decoded(raw: msgspec.Raw) -> Any:
        try:
            return decode(raw)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    return decoded
