"""Random changes of a file's bytes for `fuzz.py`."""

from __future__ import annotations

import random
import re
import struct
import zlib

ODD = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
DIGITS = (
    "0",
    "-1",
    "1e309",
    "NaN",
    "null",
    "[]",
    "{}",
    '""',
    "true",
    "0.5",
    "99999999999999999999",
    "18446744073709551615",
)


def mutate(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The content after one to four mutations."""
    for _ in range(rng.randint(1, 4)):
        content = rng.choice((_flip, _cut, _splice, _repeat, _number, _number, _digits))(content, others, rng)
    return _checked_png(content) if content[1:4] == b"PNG" and rng.random() < 0.5 else content


def _flip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:start] if rng.random() < 0.5 else content[:start] + content[end:]


def _splice(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _repeat(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start : min(end, start + 4096)] * rng.randint(1, 8) + content[end:]


def _number(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    size, start = rng.choice((1, 2, 4, 8)), rng.randrange(min(len(content), 4096) or 1)
    number = (rng.choice(ODD) & (256**size - 1)).to_bytes(size, rng.choice(("little", "big")))
    return content[:start] + number + content[start + size :]


def _digits(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    values = list(re.finditer(rb'-?\d+|"[^"]{0,40}"', content[:20_000]))
    if not values:
        return content
    one = rng.choice(values)
    return content[: one.start()] + rng.choice(DIGITS).encode() + content[one.end() :]


def _checked_png(content: bytes) -> bytes:
    """The same chunks, each with its right checksum."""
    start, chunks = 8, [content[:8]]
    while start + 12 <= len(content):
        (size,) = struct.unpack(">I", content[start : start + 4])
        body = content[start + 4 : start + 8 + size]
        chunks.append(content[start : start + 4] + body + struct.pack(">I", zlib.crc32(body)))
        start += 12 + size
    return b"".join(chunks)
