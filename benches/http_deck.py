#!/usr/bin/env python3
"""Cards and PIN blocks for benches/load-http.sh, computed with the package psec: COUNT cards of the demo's visa-debit
product with a payment instrument each (DIR/cards.csv), and for each card its two PIN blocks (DIR/deck)."""

import pathlib
import sys
import warnings

warnings.filterwarnings("ignore")  # Triple DES is old, and what is measured.

import psec  # noqa: E402

ZPK = bytes.fromhex("2315208C9110AD40A8B6C7D5E5F20210")
PINS = ("1357", "2580")


def with_check_digit(body):
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def main(count, directory):
    cards = ["pan,seq,expiry,product,status,pin_for_tests,payment_instrument_id"]
    deck = []
    for number in range(count):
        pan = with_check_digit(f"476173{number:09d}")
        instrument = f"{number:019d}"
        cards.append(f"{pan},000,3012,visa-debit,active,{PINS[0]},{instrument}")
        blocks = [psec.des.encrypt_tdes_ecb(ZPK, psec.pinblock.encode_pinblock_iso_0(pin, pan)) for pin in PINS]
        deck.append(" ".join([instrument, *(block.hex().upper() for block in blocks)]))
    pathlib.Path(directory, "cards.csv").write_text("\n".join(cards) + "\n")
    pathlib.Path(directory, "deck").write_text("\n".join(deck) + "\n")


main(int(sys.argv[1]), sys.argv[2])
