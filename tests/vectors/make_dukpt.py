#!/usr/bin/env python3
"""Writes tests/vectors/dukpt.json: PIN blocks of DUKPT terminals, computed without any of our own code.

TDES (X9.24-1:2009) by the PyPI package pydukpt; AES (X9.24-3) by the few lines below, written from the standard's
pseudo-code and held against its published tables first; blocks by psec. Keys, serial numbers and PINs are drawn from a
fixed seed; the random half of a format 4 block is fresh, so that a new run gives other blocks of the same PINs.

    pip install -r tests/requirements.txt
    python3 tests/vectors/make_dukpt.py
"""

import json
import pathlib
import random
import warnings

warnings.filterwarnings("ignore")  # Triple DES is old, and what half of the vectors are about.

import psec  # noqa: E402
import pydukpt  # noqa: E402
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "dukpt.json"
DRAW = random.Random(924)

TDES_BDK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
AES_BDK = bytes.fromhex("FEDCBA9876543210F1F1F1F1F1F1F1F1")
AES_BDK_256 = AES_BDK * 2

# Cards of the black-box tests' world: at the CMS, and at Postilion.
CARDS = ["4761739001010010", "5060990000000151002"]
PINS = ["1234", "2580", "4826", "1379", "1111"]


def aes(key, block):
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def derive(key, usage, context, size):
    """X9.24-3, "Derive Key": as many blocks of derivation data as the key is long."""
    algorithm = {16: 2, 24: 3, 32: 4}[size]
    out = b""
    for block in range(1, size // 16 + 1):
        out += aes(key, bytes([1, block]) + usage.to_bytes(2, "big") + algorithm.to_bytes(2, "big")
                   + (size * 8).to_bytes(2, "big") + context)
    return out


def aes_working_key(bdk, ksn, usage):
    """X9.24-3, "Host - Derive Transaction Key"."""
    size, name, counter = len(bdk), ksn[:8], int.from_bytes(ksn[8:], "big")
    key, register = derive(bdk, 0x8001, name, size), 0
    for place in range(31, -1, -1):
        if counter >> place & 1:
            register |= 1 << place
            key = derive(key, 0x8000, name[4:] + register.to_bytes(4, "big"), size)
    return derive(key, usage, name[4:] + ksn[8:], size)


def check_tables():
    name = bytes.fromhex("1234567890123456")
    assert derive(AES_BDK, 0x8001, name, 16).hex().upper() == "1273671EA26AC29AFA4D1084127652A1"
    for counter, want in [(1, "AF8CB133A78F8DC2D1359F18527593FB"), (0x20000, "AB828BE7B58C7EC5D5ED0D5D320A0C9D")]:
        key = aes_working_key(AES_BDK, name + counter.to_bytes(4, "big"), 0x1000)
        assert key.hex().upper() == want
    key = aes_working_key(AES_BDK_256, name + b"\0\0\0\1", 0x1000)
    assert key.hex().upper() == "8C1AB7BEE973829E30242E0BBBDD4946D540C98FC1B5BDCF94790001A23FD502"


def tdes_case(bdk, ksn, pin, pan):
    key = pydukpt.pin_key(pydukpt.derive_key(pydukpt.derive_ipek(bdk, ksn), ksn))
    block = psec.des.encrypt_tdes_ecb(key, psec.pinblock.encode_pinblock_iso_0(pin, pan))
    return case(bdk, ksn, pin, pan, block)


def aes_case(bdk, ksn, pin, pan):
    key = aes_working_key(bdk, ksn, 0x1000)
    return case(bdk, ksn, pin, pan, psec.pinblock.encipher_pinblock_iso_4(key, pin, pan))


def case(bdk, ksn, pin, pan, block):
    return {"bdk": bdk.hex().upper(), "ksn": ksn.hex().upper(), "pin": pin, "pan": pan, "block": block.hex().upper()}


def counter(bits, ones):
    return sum(1 << place for place in DRAW.sample(range(bits), DRAW.randint(1, ones)))


def digits(count):
    return "".join(DRAW.choice("0123456789") for _ in range(count))


def odd(key):
    return bytes(b & 0xFE | (bin(b >> 1).count("1") + 1) % 2 for b in key)


def random_cases():
    for _ in range(100):
        tail = DRAW.getrandbits(3) << 21 | counter(21, 10)
        ksn = b"\xFF\xFF" + DRAW.randbytes(5) + tail.to_bytes(3, "big")
        yield "tdes", tdes_case(odd(DRAW.randbytes(16)), ksn, digits(DRAW.randint(4, 12)), digits(16))
        ksn = DRAW.randbytes(8) + counter(32, 16).to_bytes(4, "big")
        bdk = DRAW.randbytes(DRAW.choice([16, 32]))
        yield "aes", aes_case(bdk, ksn, digits(DRAW.randint(4, 12)), digits(DRAW.randint(13, 19)))


def world_cases():
    """Every card and PIN under a few transactions of one terminal."""
    for count in range(1, 9):
        tdes, by_aes = 0xE00000 + count, count
        for pan in CARDS:
            for pin in PINS:
                yield "world_tdes", tdes_case(TDES_BDK, bytes.fromhex("FFFF9876543210") + tdes.to_bytes(3, "big"), pin, pan)
                ksn = bytes.fromhex("1234567890123456") + by_aes.to_bytes(4, "big")
                yield "world_aes", aes_case(AES_BDK, ksn, pin, pan)


check_tables()
vectors = {"made_by": "tests/vectors/make_dukpt.py: pydukpt 0.1.0, cryptography, psec 1.3.0"}
for name, one in [*random_cases(), *world_cases()]:
    vectors.setdefault(name, []).append(one)
OUT.write_text(json.dumps(vectors, indent=1) + "\n")
