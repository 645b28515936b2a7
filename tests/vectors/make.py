#!/usr/bin/env python3
"""Computes what the black-box tests expect of PIN changes, with the public package psec and none of our own code.

Reads the demo world (deploy/demo/world.json) for keys, cards and products; writes tests/vectors/pin_changes.json, or with
--check compares and exits 1 on a difference. Everything in it is deterministic, so that the file can be committed.

    pip install -r tests/requirements.txt
    python3 tests/vectors/make.py [--check]
"""

import hashlib
import itertools
import json
import pathlib
import sys
import types
import warnings

warnings.filterwarnings("ignore")  # Triple DES is old, and what the vectors are about.

import psec  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
WORLD = HERE.parent.parent / "deploy" / "demo" / "world.json"
OUT = HERE / "pin_changes.json"

# PINs the tests use, beside each card's own. Each breaks a rule of new PINs or none; the tests say which.
PINS = ["1234", "4321", "2580", "1379", "4826", "5678", "9876", "7777", "8901", "13579", "24680", "86420", "97531",
        "482615", "4826157", "2222"]
ZONES = ["zpk.atm", "zpk.acquirer", "zpk.postilion"]

# Cards beside those of the world, without their check digit: so many that each case of a table has its own.
EXTRA = [f"4761739002000{n:02d}" for n in range(10, 40)]

MAC_MESSAGES = [
    "",
    "30",
    "0123456789ABCDEF",
    "30313030723800000000000131363437363137333930303130313030313039",
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
]


def hexed(data):
    return data.hex().upper()


def block(key, pin, pan):
    """ISO 9564-1 format 0 under triple DES."""
    return hexed(psec.des.encrypt_tdes_ecb(key, psec.pinblock.encode_pinblock_iso_0(pin, pan)))


def reference(product, keys, pan, pin):
    """The PVV or the offset of a PIN; a product that keeps the PIN itself has none to compute."""
    method = product["pin_method"]
    if method == "visa-pvv":
        if len(pin) != 4:
            return None
        return psec.pin.generate_visa_pvv(keys[product["pvk"]], product["pvki"], pin, pan)
    if method == "ibm-3624":
        validation = product["validation"]
        return psec.pin.generate_ibm3624_offset(
            keys[product["pvk"]], product["decimalization_table"], pin, pan,
            validation["start"], validation["length"], validation["pad"])
    return None


def odd_parity(data):
    return bytes((b & 0xFE) | (bin(b >> 1).count("1") + 1) % 2 for b in data)


def exchange(keys, pan):
    """A new zpk.atm under zmk.partner in ECB, as a partner sends it, and blocks under the new key."""
    new = odd_parity(hashlib.sha256(b"pinion: zpk.atm after an exchange").digest()[:16])
    zmk = keys["zmk.partner"]

    def wrap(key):
        return hexed(psec.des.encrypt_tdes_ecb(zmk, key))

    def check_value(key):
        return hexed(psec.des.encrypt_tdes_ecb(key, bytes(8))[:3])

    even = bytes([new[0] ^ 1]) + new[1:]
    return {
        "key": "zpk.atm",
        "zmk": "zmk.partner",
        "clear": hexed(new),
        "wrapped": wrap(new),
        "check_value": check_value(new),
        # The same key with one byte of even parity: DES does not see the difference, so the check value is the same.
        "wrapped_even_parity": wrap(even),
        "wrapped_old": wrap(keys["zpk.atm"]),
        "check_value_old": check_value(keys["zpk.atm"]),
        "pan": pan,
        "blocks": {pin: block(new, pin, pan) for pin in PINS},
    }


def with_check_digit(body):
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def compute():
    world = json.loads(WORLD.read_text())
    keys = {name: bytes.fromhex(key["clear"]) for name, key in world["keys"].items()}
    products = world["products"]

    cards = [dict(card) for card in world["cards"]]
    for body in EXTRA:
        pan = with_check_digit(body)
        cards.append({"pan": pan, "seq": "000", "expiry": "3012", "product": "visa-debit", "pin_for_tests": "1234",
                      "status": "active", "extra": True})
    # An account number nobody has.
    cards.append({"pan": with_check_digit("476173999999999"), "product": "visa-debit", "pin_for_tests": "1234",
                  "unknown": True})

    out_cards = {}
    for card in cards:
        pan, own = card["pan"], card["pin_for_tests"]
        product = products[card["product"]]
        pins = sorted(set(PINS) | {own})
        references = {pin: reference(product, keys, pan, pin) for pin in pins}
        out = {"product": card["product"], "pin": own, "blocks": {}, "references": {}}
        if "extra" in card:
            out["import"] = {name: card[name] for name in ("seq", "expiry", "status")}
        if "unknown" in card:
            out["unknown"] = True
        for zone in ZONES:
            out["blocks"][zone] = {pin: block(keys[zone], pin, pan) for pin in pins}
        out["references"] = {pin: value for pin, value in references.items() if value is not None}
        for name in ("pvv", "offset"):
            if name in card and out["references"][own] != card[name]:
                sys.exit(f"world.json: the {name} of card ...{pan[-4:]} is not psec's")
        out_cards[pan] = out

    # Format 3 has a random fill; here it is the letters in turn. Any fill is valid.
    letters = itertools.cycle("FADCBE")
    psec.pinblock._secrets = types.SimpleNamespace(choice=lambda _: next(letters))
    plain = world["cards"][0]["pan"]
    format_3 = {pin: hexed(psec.des.encrypt_tdes_ecb(keys["zpk.atm"], psec.pinblock.encode_pinblock_iso_3(pin, plain)))
                for pin in ["1234", "2580", "1379"]}

    zak = keys["zak.acquirer"]
    return {
        "source": "tests/vectors/make.py, psec " + PSEC_VERSION,
        "cards": out_cards,
        # Of the world's first card, under zpk.atm.
        "format_3_blocks": format_3,
        # What decrypts to sixteen F: no format has that.
        "no_pin_blocks": {zone: hexed(psec.des.encrypt_tdes_ecb(keys[zone], b"\xff" * 8)) for zone in ZONES},
        "exchange": exchange(keys, plain),
        "macs": [
            {"message": message,
             "mac": hexed(psec.mac.generate_retail_mac(zak[:8], zak[8:], bytes.fromhex(message), 1))}
            for message in MAC_MESSAGES if message
        ],
    }


PSEC_VERSION = "1.3.0"


def main():
    text = json.dumps(compute(), indent=1) + "\n"
    if sys.argv[1:] == ["--check"]:
        if OUT.read_text() != text:
            sys.exit(f"{OUT}: differs from what psec computes; run tests/vectors/make.py")
        return
    OUT.write_text(text)


if __name__ == "__main__":
    main()
