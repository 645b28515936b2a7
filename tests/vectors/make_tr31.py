#!/usr/bin/env python3
"""Writes tests/vectors/tr31.json: key blocks that psec made over random keys, of every version and length.

psec masks the length of a key by more padding than one cipher block, and adds a padding block (PB) to optional ones.
The keys are drawn from a fixed seed; psec's own padding is random, so that a new run gives other blocks of the same keys.

    pip install -r tests/requirements.txt
    python3 tests/vectors/make_tr31.py
"""

import json
import pathlib
import random
import warnings

warnings.filterwarnings("ignore")  # Triple DES is old, and what half of the vectors are about.

from psec import tr31  # noqa: E402

OUT = pathlib.Path(__file__).resolve().parent / "tr31.json"
DRAW = random.Random(31143)
KBPK = {"A": (16, 24), "B": (16, 24), "C": (16, 24), "D": (16, 24, 32)}
KINDS = [("P0", "T", "B", 16), ("K0", "T", "B", 24), ("P0", "A", "E", 16), ("B0", "A", "X", 32), ("M7", "H", "C", 32)]
OPTIONAL = [[], [("KS", "00604B120F9292800000")], [("IK", "1234567890123456"), ("TS", "2026-11-22T00:00:00Z")],
            [("PK", "ABCD" * 70)]]


def vectors():
    for version, lengths in KBPK.items():
        for length in lengths:
            for usage, algorithm, mode, size in KINDS:
                for optional in OPTIONAL:
                    kbpk, key = DRAW.randbytes(length), DRAW.randbytes(size)
                    header = tr31.Header(version, usage, algorithm, mode, "00", DRAW.choice("ENS"))
                    for name, text in optional:
                        header.blocks[name] = text
                    mask = None if DRAW.random() < 0.5 else size
                    block = tr31.KeyBlock(kbpk, header).wrap(key, masked_key_len=mask)
                    assert tr31.unwrap(kbpk, block)[1] == key
                    yield {"kbpk": kbpk.hex().upper(), "key": key.hex().upper(), "block": block,
                           "optional": [name + text for name, text in optional]}


OUT.write_text(json.dumps({"made_by": "tests/vectors/make_tr31.py, psec 1.3.0", "psec": list(vectors())}, indent=1) + "\n")
