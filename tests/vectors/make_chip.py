"""Makes chip.json: issuer scripts for cards of the demo world and others, as pyemv computes them; --check compares.

A command is PIN CHANGE/UNBLOCK: header, encrypted PIN, MAC over header, counter, cryptogram and encrypted PIN.
"""

import json
import pathlib
import sys

from pyemv import kd, sm

KEYS = {
    "smi.chip": ("MK-SMI", "0123456789ABCDEFFEDCBA9876543210"),
    "smc.chip": ("MK-SMC", "10101010101010102323232323232323"),
    "ac.chip": ("MK-AC", "FEDCBA98765432100123456789ABCDEF"),
}
SMI, SMC, AC = (bytes.fromhex(key) for _, key in KEYS.values())

# Encrypted parts that pyemv's own tests print for these keys, PAN 1234567890123456, sequence 01, PIN 9999.
PRINTED = {
    "mastercard": ("FFFF", "ABCDEF1234567890", "28367E05DE3381C2"),
    "visa": ("FFFF", "ABCDEF1234567890", "D421231A6FD2F0FAEE671384F0D3A7B9"),
    "emv-common": ("FFFF", "ABCDEF1234567890", "28367E05DE3381C29D30A6055A8DEB86"),
}


def script(scheme, pan, sequence, counter, cryptogram, pin):
    derive = kd.derive_icc_mk_b if len(pan) > 16 else kd.derive_icc_mk_a
    card = lambda key: derive(key, pan, f"{sequence:02}")
    atc, arqc = bytes.fromhex(counter), bytes.fromhex(cryptogram)
    session = lambda key: (
        kd.derive_visa_sm_sk(card(key), atc) if scheme == "visa" else kd.derive_common_sk(card(key), arqc)
    )
    hidden = b""
    if pin is not None:
        block = sm.format_vis_pin_block(card(AC), pin) if scheme == "visa" else sm.format_iso9564_2_pin_block(pin)
        padding = {
            "visa": sm.EncryptionType.VISA,
            "mastercard": sm.EncryptionType.MASTERCARD,
            "emv-common": sm.EncryptionType.EMV,
        }[scheme]
        hidden = sm.encrypt_command_data(session(SMC), block, padding)
    header = bytes([0x84, 0x24, 0x00, 0x00 if pin is None else 0x02, len(hidden) + 8])
    mac = sm.generate_command_mac(session(SMI), header + atc + arqc + hidden)
    return header, hidden, mac


def cases():
    world = json.loads((pathlib.Path(__file__).parent / "pin_changes.json").read_text())["cards"]
    # One with PIN 1234, and those that the tests import besides.
    visa_cards = ["4761739001010010"] + [pan for pan, card in world.items() if "import" in card][:6]
    for scheme, (counter, cryptogram, printed) in PRINTED.items():
        assert script(scheme, "1234567890123456", 1, counter, cryptogram, "9999")[1].hex().upper() == printed
        yield scheme, "1234567890123456", 1, counter, cryptogram, "9999"
        yield scheme, "1234567890123456", 42, "0001", "0000000000000000", "999999999999"
        for n, pan in enumerate(visa_cards + ["4000000000000", "5060990000000151002", "541333000000000002"]):
            counter, cryptogram = f"{0x0012 + 0x1357 * n:04X}", f"{(0x0F1E2D3C4B5A6978 * (n + 1)) % 2**64:016X}"
            for sequence in (0, 1):
                for pin in ("2580", "1379", None):
                    yield scheme, pan, sequence, counter, cryptogram, pin


def row(case):
    header, hidden, mac = script(*case)
    names = ("scheme", "pan", "sequence", "counter", "cryptogram", "pin")
    return dict(zip(names, case)) | {"command": (header + hidden + mac).hex().upper()}


rows = [row(case) for case in cases()]
keys = {name: {"type": kind, "clear": clear} for name, (kind, clear) in KEYS.items()}
made = {"made by": "make_chip.py, pyemv 1.5.0", "keys": keys, "scripts": rows}
text = json.dumps(made, indent=1) + "\n"
path = pathlib.Path(__file__).parent / "chip.json"
if sys.argv[1:] == ["--check"]:
    sys.exit(None if path.read_text() == text else "chip.json is not what pyemv computes")
path.write_text(text)
print(len(rows), "scripts")
