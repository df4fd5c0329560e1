"""Whether an Ed25519 signature holds, by ZIP-215: https://zips.z.cash/zip-0215

In plain integers, from RFC 8032 §5.1 and ZIP-215, which settles what the RFC leaves open:

- `A` and `R` may be any encodings of points: y is taken modulo p, and a set sign bit beside x = 0 is ignored;
- `S` must be below the order of the base point;
- [8][S]B = [8]R + [8][k]A must hold, with the cofactor.

It holds no secrets, so nothing here runs in constant time.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Optional, Tuple

# A point (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z (RFC 8032 §5.1.4).
Point = Tuple[int, int, int, int]

P = 2**255 - 19
"""The field."""
ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point."""
D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

IDENTITY: Point = (0, 1, 1, 0)

_WINDOW_BITS = 4
_WINDOWS = 64  # times four bits: any scalar below 2^256


def add(one: Point, other: Point) -> Point:
    """RFC 8032 §5.1.4; complete, so it also doubles."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * t1 * D * t2 % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def double(point: Point) -> Point:
    """RFC 8032 §5.1.4, the shorter formula."""
    x1, y1, z1, _ = point
    a = x1 * x1 % P
    b = y1 * y1 % P
    h = a + b
    e = h - (x1 + y1) * (x1 + y1) % P
    g = a - b
    f = 2 * z1 * z1 + g
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def negate(point: Point) -> Point:
    x, y, z, t = point
    return (-x % P, y, z, -t % P)


def is_identity(point: Point) -> bool:
    x, y, z, _ = point
    return x % P == 0 and (y - z) % P == 0


def times_eight(point: Point) -> Point:
    return double(double(double(point)))


@lru_cache(maxsize=4096)
def decompress(encoding: bytes) -> Optional[Point]:
    """The point of 32 bytes, in any encoding ZIP-215 allows; `None` if they are of no point."""
    number = int.from_bytes(encoding, "little")
    sign, y = number >> 255, (number & (2**255 - 1)) % P
    # x^2 = (y^2 - 1) / (d y^2 + 1); RFC 8032 §5.1.3 on how to take the root.
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * SQRT_MINUS_ONE % P
        if v * x * x % P != u:
            return None
    if x & 1 != sign:
        x = -x % P
    return (x, y, 1, x * y % P)


def is_usable_key(encoding: bytes) -> bool:
    """Whether somebody can own the key: it is a point, and not one of the eight of small order."""
    point = decompress(encoding)
    return point is not None and not is_identity(times_eight(point))


@lru_cache(maxsize=1024)
def _multiples(point: Point) -> Tuple[Point, ...]:
    """0 to 15 times the point."""
    multiples = [IDENTITY]
    for _ in range(2**_WINDOW_BITS - 1):
        multiples.append(add(multiples[-1], point))
    return tuple(multiples)


def multiply_and_add(a: int, one: Point, b: int, other: Point) -> Point:
    """[a]one + [b]other, four bits of both scalars at a time."""
    ones, others = _multiples(one), _multiples(other)
    result = IDENTITY
    for window in reversed(range(_WINDOWS)):
        for _ in range(_WINDOW_BITS):
            result = double(result)
        shift = window * _WINDOW_BITS
        result = add(result, ones[a >> shift & 15])
        result = add(result, others[b >> shift & 15])
    return result


def _base() -> Point:
    # RFC 8032 §5.1: y = 4/5 and x even.
    y = 4 * pow(5, P - 2, P) % P
    point = decompress(y.to_bytes(32, "little"))
    assert point is not None, "the base point is on the curve"
    return point


BASE = _base()


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `key` over `message`. Any bytes may be asked about."""
    if len(key) != 32 or len(signature) != 64:
        return False
    r_bytes, s = signature[:32], int.from_bytes(signature[32:], "little")
    a, r = decompress(key), decompress(r_bytes)
    if a is None or r is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(r_bytes + key + message).digest(), "little") % ORDER
    difference = add(multiply_and_add(s, BASE, k, negate(a)), negate(r))
    return is_identity(times_eight(difference))
