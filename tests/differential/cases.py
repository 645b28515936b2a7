"""Random PIN changes, computed by psec (which computes with OpenSSL): one JSON document a line.

Usage: cases.py SEED COUNT. Keys are those of tests/differential.rs.
"""

import json
import random
import sys

from psec import des, pin, pinblock

ZPK = bytes.fromhex("C7152C20BC2C830EA7EC9E8334ABE3FE")
AES_ZPK = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
PVK = bytes.fromhex("C8199237EA5857BC40EF9DA2B5E96BBF")
PVK_IBM = bytes.fromhex("54A1521FDA7083E9C83E9EC4263786EC")
TABLE = "0123456789012345"


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


def offset(digits, pan):
    return pin.generate_ibm3624_offset(PVK_IBM, TABLE, digits, pan, 3, 10, "F")


def one(dice):
    pan = "".join(dice.choice("0123456789") for _ in range(dice.choice([13, 16, 16, 19])))
    some = lambda: "".join(dice.choice("0123456789") for _ in range(dice.randint(4, 12)))
    current, new = some(), some()
    case = {"pan": pan, "current": current, "new": new, "blocks": {}}
    for layout in [0, 1, 3, 4]:
        case["blocks"][str(layout)] = [block(layout, digits, pan, dice) for digits in (current, new)]
    case["pvv"] = [pin.generate_visa_pvv(PVK, "1", digits[:4], pan) for digits in (current, new)]
    case["offset"] = [offset(digits, pan) for digits in (current, new)]
    return case


dice = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    print(json.dumps(one(dice)))
