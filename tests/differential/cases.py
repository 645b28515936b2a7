"""Random PIN changes, computed by psec (which computes with OpenSSL): one JSON document a line.

Usage: cases.py SEED COUNT. Keys are those of tests/differential.rs. Blocks are in the order of formats 0, 1, 3, 4; of
each two things the first is of the current PIN. Each change comes from a DUKPT terminal, too (X9.24-1): its key by
pydukpt, its blocks in the order of formats 0, 1, 3.
"""

import json
import random
import sys

import pydukpt
from psec import des, pin, pinblock

ZPK = bytes.fromhex("C7152C20BC2C830EA7EC9E8334ABE3FE")
AES_ZPK = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
PVK = bytes.fromhex("C8199237EA5857BC40EF9DA2B5E96BBF")
BDK = bytes.fromhex("C8A16DABB957C1761652C1A49E836294")
PVK_IBM = bytes.fromhex("54A1521FDA7083E9C83E9EC4263786EC")


def clear_block(layout, digits, pan, dice):
    if layout == 0:
        return pinblock.encode_pinblock_iso_0(digits, pan)
    if layout == 3:
        return pinblock.encode_pinblock_iso_3(digits, pan)
    # ISO 9564-1 format 1, which psec has not: control, length, PIN, any fill.
    fill = "".join(dice.choice("0123456789ABCDEF") for _ in range(14 - len(digits)))
    return bytes.fromhex(f"1{len(digits):X}{digits}{fill}")


def block(layout, digits, pan, dice):
    if layout == 4:
        return pinblock.encipher_pinblock_iso_4(AES_ZPK, digits, pan).hex().upper()
    clear = clear_block(layout, digits, pan, dice)
    return des.encrypt_tdes_ecb(ZPK, clear).hex().upper()


def dukpt(pins, pan, dice):
    # The counter has 21 bits, of which X9.24-1 sets ten at most.
    counter = sum(1 << place for place in dice.sample(range(21), dice.randint(1, 10)))
    tail = dice.getrandbits(3) << 21 | counter
    ksn = b"\xFF\xFF" + dice.randbytes(5) + tail.to_bytes(3, "big")
    key = pydukpt.pin_key(pydukpt.derive_key(pydukpt.derive_ipek(BDK, ksn), ksn))
    blocks = [
        [des.encrypt_tdes_ecb(key, clear_block(layout, digits, pan, dice)).hex().upper() for digits in pins]
        for layout in [0, 1, 3]
    ]
    return {"ksn": ksn.hex().upper(), "key": key.hex().upper(), "blocks": blocks}


def some(dice, characters, low, high):
    return "".join(dice.choice(characters) for _ in range(dice.randint(low, high)))


def table(dice):
    # Every digit once, six of them a second time: devices refuse lopsided tables.
    digits = list("0123456789") + dice.sample("0123456789", 6)
    dice.shuffle(digits)
    return "".join(digits)


def one(dice):
    pan = some(dice, "0123456789", 13, 19)
    pins = [some(dice, "0123456789", 4, 12) for _ in range(2)]
    pvki = some(dice, "0123456", 1, 1)
    length = dice.randint(1, min(len(pan), 16))
    ibm = {
        "table": table(dice),
        "start": dice.randint(0, len(pan) - length),
        "length": length,
        "pad": some(dice, "0123456789ABCDEF", 1, 1),
    }
    return {
        "pan": pan,
        "pins": pins,
        "blocks": [[block(layout, digits, pan, dice) for digits in pins] for layout in [0, 1, 3, 4]],
        "dukpt": dukpt(pins, pan, dice),
        "pvki": pvki,
        "pvvs": [pin.generate_visa_pvv(PVK, pvki, digits[:4], pan) for digits in pins],
        "ibm": ibm,
        "offsets": [
            pin.generate_ibm3624_offset(
                PVK_IBM, ibm["table"], digits, pan, ibm["start"], ibm["length"], ibm["pad"]
            )
            for digits in pins
        ],
    }


dice = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    print(json.dumps(one(dice)))
