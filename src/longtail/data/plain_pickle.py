"""A reader of pickles that knows numbers, strings, containers and numeric arrays, and nothing else.

Python's own unpickler calls what a file names. With numpy's classes within its reach a file forges object pointers and
strides; with none it can still be told to reserve a memo of 2**31 places, or to hash a tuple nested a million deep. So
the opcodes are read here. No name of a file is looked up: those that numpy writes stand for functions of this module,
which check that shape times item size is what the bytes hold, and copy. Format: PEP 307, PEP 3154, ``pickletools``.
"""

from __future__ import annotations

import codecs
import math
import struct
from typing import Any

import numpy as np

__all__ = ["Refused", "read_pickle"]

MAX_BYTES = 1 << 28
"""Of a file, and half of what is made of its strings; CIFAR-100 has 155 MB."""
MAX_STEPS = 1_000_000
"""Opcodes of a file; CIFAR-100 has about 300,000."""
MAX_DEPTH = 16
MAX_DIMS, MAX_LENGTH = 8, 1 << 40
_KINDS = frozenset({"b1", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"})


class Refused(ValueError):
    """What a file asks for, in words."""


class _Mark:
    """A place on the stack."""


class _Name:
    """One of the names that numpy's pickles use; it is compared, never called."""

    def __init__(self, label: str) -> None:
        self.label = label


_ENCODE, _NDARRAY, _DTYPE, _RECONSTRUCT, _SCALAR, _FROMBUFFER = (
    _Name(label) for label in ("encode", "ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")
)
_NAMES = {("_codecs", "encode"): _ENCODE, ("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _DTYPE}
for _package in ("numpy.core", "numpy._core"):
    _NAMES |= {
        (f"{_package}.multiarray", "_reconstruct"): _RECONSTRUCT,
        (f"{_package}.multiarray", "scalar"): _SCALAR,
        (f"{_package}.numeric", "_frombuffer"): _FROMBUFFER,
    }


class _Unbuilt:
    """An array or a type of numbers of which the file has not told all yet.

    Args:
        dtype: What is known of a type of numbers; None: it is an array.
    """

    def __init__(self, dtype: np.dtype[Any] | None = None) -> None:
        self.dtype, self.places = dtype, set[int]()


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _raw(value: Any) -> bytes:
    """The bytes of an array; Python 2 wrote them as a string."""
    if isinstance(value, str):
        try:
            return value.encode("latin1")
        except UnicodeEncodeError:
            raise Refused("an array's bytes are text") from None
    if not isinstance(value, bytes | bytearray):
        raise Refused("an array is not made of bytes")
    return bytes(value)


class _Machine:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.made = data, 0, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_STEPS):
            code = self.take(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise Refused(f"it has the opcode 0x{code.hex()}")
            step(self)
        raise Refused(f"it has more than {MAX_STEPS} steps")

    def take(self, count: int) -> bytes:
        if count < 0 or count > len(self.data) - self.at:
            raise EOFError("the file ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> int:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        end = self.data.index(b"\n", self.at)
        return self.take(end + 1 - self.at)[:-1].rstrip(b"\r")

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a mark where a value should be")
        return value

    def pop_to_mark(self) -> list[Any]:
        for k in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[k], _Mark):
                values = self.stack[k + 1 :]
                del self.stack[k:]
                return values
        raise ValueError("no mark")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def put(self, place: int) -> None:
        value = self.memo[place] = self.stack[-1]
        if isinstance(value, _Unbuilt):
            value.places.add(place)

    def get(self, place: int) -> None:
        self.push(self.memo[place])

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise Refused("it adds to something other than a list")
        target += values

    def update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise Refused("it sets items of something other than a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | bytes):
                raise Refused(f"a key of a dictionary is of type {type(key).__name__}")
            target[key] = value

    def dictionary(self) -> None:
        values = self.pop_to_mark()
        self.push({})
        self.update(values)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        if (module, name) not in _NAMES:
            raise Refused(f"it asks for {module[:80]}.{name[:80]}")
        self.push(_NAMES[module, name])

    def pay(self, count: int) -> None:
        """Bytes are made; one string that is used a thousand times counts a thousand times."""
        self.made += count
        if self.made > 2 * MAX_BYTES:
            raise Refused(f"its arrays take more than {2 * MAX_BYTES >> 20} MiB")

    def reduce(self) -> None:
        """Call one of the known names."""
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise Refused("it calls something that is no name")
        if any(isinstance(argument, str | bytes | bytearray) for argument in arguments):
            self.pay(sum(len(a) for a in arguments if isinstance(a, str | bytes | bytearray)))
        self.push(self.call(name, arguments))

    def call(self, name: _Name, arguments: tuple[Any, ...]) -> Any:
        match (name, *arguments):
            case (_, str(text), str(encoding)) if name is _ENCODE:
                if encoding[:20].lower() not in ("latin1", "latin-1", "iso-8859-1"):
                    raise Refused(f"it asks for the encoding {encoding[:80]}")
                return _raw(text)
            case (_, str(kind), *_) if name is _DTYPE:
                order = kind[:1] if kind[:1] in "<>=|" else ""
                if kind[len(order) :] not in _KINDS:
                    raise Refused(f"it asks for numbers of the kind {kind[:80]!r}")
                return _Unbuilt(np.dtype(kind))
            case (_, prototype, (0,), _) if name is _RECONSTRUCT and prototype is _NDARRAY:
                return _Unbuilt()
            case (_, np.dtype() as dtype, raw) if name is _SCALAR:
                return self.array((), dtype, False, raw)[()].item()
            case (_, raw, np.dtype() as dtype, shape, ("C" | "F") as order) if name is _FROMBUFFER:
                return self.array(shape, dtype, order == "F", raw)
        raise Refused(f"it calls {name.label} in an unknown way")

    def array(self, shape: Any, dtype: np.dtype[Any], fortran: Any, raw: Any) -> np.ndarray:
        """A copy of the bytes, which are as many as the shape and the kind of numbers say."""
        sizes = shape if isinstance(shape, tuple) else (-1,)
        if len(sizes) > MAX_DIMS or not all(_whole(n) and 0 <= n < MAX_LENGTH for n in sizes):
            raise Refused("an array has an impossible shape")
        content = _raw(raw)
        self.pay(len(content))
        if math.prod(sizes) * dtype.itemsize != len(content):
            raise Refused("an array's shape and its bytes differ")
        flat = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
        return np.array(flat.reshape(sizes, order="F" if fortran else "C"), order="C", copy=None)

    def build(self) -> None:
        """Complete an array or a type of numbers, in all places where the file refers to it."""
        state, unbuilt = self.pop(), self.pop()
        if not isinstance(unbuilt, _Unbuilt) or not isinstance(state, tuple):
            raise Refused("it sets the state of something other than an array")
        built: Any
        if unbuilt.dtype is not None:
            match state:
                case (int(), ("<" | ">" | "=" | "|") as order, None, None, None, *_):
                    built = unbuilt.dtype.newbyteorder(order) if order != "|" else unbuilt.dtype
                case _:
                    raise Refused("it asks for numbers of a compound kind")
        else:
            match state[-4:]:
                case (shape, np.dtype() as dtype, (bool() | 0 | 1) as fortran, raw) if len(state) in (4, 5):
                    built = self.array(shape, dtype, fortran, raw)
                case _:
                    raise Refused("an array is not told as numpy does")
        for place in unbuilt.places:
            if self.memo.get(place) is unbuilt:
                self.memo[place] = built
        self.push(built)


def _text_number(m: _Machine) -> None:
    line = m.line()
    m.push(line == b"01" if line in (b"00", b"01") else int(line[:-1] if line.endswith(b"L") else line))


def _text_string(m: _Machine) -> None:
    line = m.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise ValueError("a string without quotes")
    m.push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))  # type: ignore[attr-defined]


def _long(m: _Machine, count: int) -> None:
    m.push(int.from_bytes(m.take(count), "little", signed=True))


def _tuple(m: _Machine, count: int) -> None:
    m.push(tuple(m.pop() for _ in range(count))[::-1])


def _appended(m: _Machine) -> None:
    value = m.pop()
    m.extend([value])


def _item_set(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    m.update([key, value])


def _stack_name(m: _Machine) -> None:
    name, module = m.pop(), m.pop()
    m.name(module, name)


_STEPS: dict[bytes, Any] = {
    b"\x80": lambda m: m.take(1),  # the protocol
    b"\x95": lambda m: m.take(8),  # a frame: nothing depends on it
    b"(": lambda m: m.push(_Mark()),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.pop_to_mark(),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _text_number,
    b"L": _text_number,
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: _long(m, m.number("<B")),
    b"\x8b": lambda m: _long(m, m.number("<i")),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(m.number(">d")),
    b"S": _text_string,
    b"T": lambda m: m.push(m.take(m.number("<i")).decode("latin1")),
    b"U": lambda m: m.push(m.take(m.number("<B")).decode("latin1")),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.push(m.take(m.number("<I"))),
    b"C": lambda m: m.push(m.take(m.number("<B"))),
    b"\x8e": lambda m: m.push(m.take(m.number("<Q"))),
    b"\x96": lambda m: m.push(bytearray(m.take(m.number("<Q")))),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"a": _appended,
    b"e": lambda m: m.extend(m.pop_to_mark()),
    b"}": lambda m: m.push({}),
    b"d": lambda m: m.dictionary(),
    b"s": _item_set,
    b"u": lambda m: m.update(m.pop_to_mark()),
    b"p": lambda m: m.put(int(m.line())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"g": lambda m: m.get(int(m.line())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"c": lambda m: m.name(m.line().decode(), m.line().decode()),
    b"\x93": _stack_name,
    b"R": lambda m: m.reduce(),
    b"b": lambda m: m.build(),
}


def _check_tree(value: Any) -> None:
    """Refuse what nests deep, would be endless if it were written out, or was left unfinished."""
    seen: set[int] = set()
    level = [value]
    for _ in range(MAX_DEPTH):
        inside: list[Any] = []
        for own in level:
            if isinstance(own, _Unbuilt | _Name):
                raise Refused("it holds an array that is not whole")
            if isinstance(own, list | dict | tuple):
                values = own.values() if isinstance(own, dict) else own
                if id(own) not in seen:
                    inside += values
                elif any(isinstance(value, list | dict | tuple) for value in values):
                    raise Refused("it holds a list of lists in two places")
                seen.add(id(own))
        level = inside
    if level:
        raise Refused(f"its lists nest more than {MAX_DEPTH} deep")


def read_pickle(data: bytes) -> Any:
    """Numbers, strings, lists, tuples, dictionaries and numpy arrays of numbers; strings of Python 2 as latin-1.

    Args:
        data: The file's content, any protocol.

    Raises:
        Refused: the file asks for anything else, or for too much.
        Exception: the file is damaged.
    """
    if len(data) > MAX_BYTES:
        raise Refused(f"it has more than {MAX_BYTES >> 20} MiB")
    value = _Machine(data).run()
    _check_tree(value)
    return value
