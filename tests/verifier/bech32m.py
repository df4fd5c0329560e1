"""Account addresses: bech32m (BIP-350) with the prefix `qr` over the 32 bytes of a public key."""

from __future__ import annotations

from typing import List

PREFIX = "qr"
LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECKSUM_LETTERS = 6
BECH32M_CONSTANT = 0x2BC830A3
GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _polymod(values: List[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(GENERATORS):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


def _expanded_prefix() -> List[int]:
    return [ord(letter) >> 5 for letter in PREFIX] + [0] + [ord(letter) & 31 for letter in PREFIX]


def encode(key: bytes) -> str:
    """The address of a public key."""
    number = int.from_bytes(key, "big")
    bits = 8 * len(key)
    padding = -bits % 5
    number <<= padding
    data = [number >> shift & 31 for shift in range(bits + padding - 5, -1, -5)]
    checksum = _polymod(_expanded_prefix() + data + [0] * CHECKSUM_LETTERS) ^ BECH32M_CONSTANT
    data += [checksum >> 5 * (CHECKSUM_LETTERS - 1 - place) & 31 for place in range(CHECKSUM_LETTERS)]
    return PREFIX + "1" + "".join(LETTERS[value] for value in data)


def decode(text: str) -> bytes:
    """The public key of an address.

    Raises ValueError for whatever is not the one spelling of 32 bytes (all upper case is as good as all lower).
    """
    if text.lower() != text and text.upper() != text:
        raise ValueError(f"address {text!r} mixes upper and lower case")
    lower = text.lower()
    if not lower.startswith(PREFIX + "1"):
        raise ValueError(f"address {text!r} does not begin with {PREFIX}1")
    values = [LETTERS.find(letter) for letter in lower[len(PREFIX) + 1 :]]
    if -1 in values or _polymod(_expanded_prefix() + values) != BECH32M_CONSTANT:
        raise ValueError(f"address {text!r} is mistyped")
    number = 0
    for value in values[:-CHECKSUM_LETTERS]:
        number = number << 5 | value
    padding = 5 * (len(values) - CHECKSUM_LETTERS) - 256
    if not 0 <= padding < 5:
        raise ValueError(f"address {text!r} does not hold 32 bytes")
    key = (number >> padding).to_bytes(32, "big")
    if encode(key) != lower:
        raise ValueError(f"address {text!r} has padding that is not zero")
    return key
