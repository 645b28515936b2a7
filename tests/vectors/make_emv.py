"""Makes emv.json: KU and KY commands with the answers that pyemv 1.5.0 computes (pip install pyemv==1.5.0).

Keys are sealed under the published variant test LMK here, too: pairs and variants as tests of other simulators print
them. What pyemv prints in its own tests is checked on the way.
"""

import json
import pathlib

from pyemv import kd, sm, tools


def tdes(key, data):
    return tools.encrypt_tdes_ecb(key, data)


PAIRS = {
    "109": "A61A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
    "209": "5A1A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
    "309": "6A1A1A1A1A1A1A1A1C1C1C1C1C1C1C1C",
    "001": "61616161616161617070707070707070",
    "70D": "2F2F2F2F2F2F2F2F3131313131313131",
    "00A": "23232323232323232525252525252525",
}
VARIANT = {"1": 0xA6, "2": 0x5A, "3": 0x6A, "7": 0x74, "0": 0}


def sealed(kind, key):
    pair = bytearray.fromhex(PAIRS[kind])
    pair[0] = bytes.fromhex(PAIRS[kind])[1] ^ VARIANT[kind[0]]
    out = b""
    for mask, half in ((0xA6, key[:8]), (0x5A, key[8:])):
        under = bytearray(pair)
        under[8] ^= mask
        out += tdes(bytes(under), half)
    return b"U" + out.hex().upper().encode()


KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
assert sealed("209", KEY) == b"U352796B7EF432BE016CA35D48F4A0483"
assert sealed("309", KEY) == b"U8430868258D18395C1AD55F2F9F1A090"
assert sealed("109", KEY) == b"U7475636CC30B93B493CF5EA53799EBCC"
assert sealed("001", KEY) == b"U063A0E7C0F2124E56192A4510F395ED7"

SMI = KEY
SMC = bytes.fromhex("10101010101010102323232323232323")
AC = bytes.fromhex("FEDCBA98765432100123456789ABCDEF")
ZPK = bytes.fromhex("C7152C20BC2C830EA7EC9E8334ABE3FE")
TK = bytes.fromhex("7962D9ECE03D1ACD4C76089DCE131543")
PAN, PSN = "1234567890123456", "01"
CARD = bytes.fromhex((PAN + PSN)[-16:])
ACCOUNT = PAN[:-1][-12:]
HEADER = bytes.fromhex("8424000210")
ATC, ARQC = bytes.fromhex("FFFF"), bytes.fromhex("ABCDEF1234567890")


def icc(key):
    return kd.derive_icc_mk_a(key, PAN, PSN)


def iso_0(pin):
    field = bytes([len(pin)]) + bytes.fromhex(pin + "F" * (14 - len(pin)))
    return tools.xor(field, bytes.fromhex("0000" + ACCOUNT))


def under_zpk(pin):
    return tdes(ZPK, iso_0(pin))


def counted(data):
    return b"%04X" % len(data) + data + b";"


vectors = []


def add(name, command, mac, data=None):
    answer = mac + (b"" if data is None else b"%04X" % len(data) + data)
    code = (b"KV" if command[:2] == b"KU" else b"KZ") + b"00"
    vectors.append({"name": name, "command": command.hex().upper(), "answer": (code + answer).hex().upper()})


PLAIN = HEADER + ATC + ARQC


def ku(mode, scheme, session, tail, plain=PLAIN):
    return b"KU" + mode + scheme + sealed("209", SMI) + CARD + session + counted(plain) + tail


VISA, MC = bytes(6) + ATC, ARQC


def session(scheme, key):
    return kd.derive_visa_sm_sk(icc(key), ATC) if scheme == b"0" else kd.derive_common_sk(icc(key), ARQC)


def pin_tail(to, new, current=None, key_type=b"0", key=sealed("001", ZPK), offset=len(PLAIN), with_session=VISA, smc=True):
    own = sealed("309", SMC) if smc else b""
    tail = own + with_session + b"%04X" % offset + counted(under_zpk(new))
    tail += key_type + key + b"01" + to + ACCOUNT.encode()
    if to in (b"41", b"42"):
        tail += sealed("109", AC)
    if to == b"42":
        tail += under_zpk(current)
    return tail


for scheme, data in ((b"0", VISA), (b"1", MC)):
    mac = sm.generate_command_mac(session(scheme, SMI), PLAIN)
    add(f"integrity only, scheme {scheme.decode()}", ku(b"0", scheme, data, b""), mac)
    for mode, key in ((b"3", SMI), (b"4", SMC)):
        for to, new, current in (
            (b"34", "9999", None),
            (b"34", "999999999999", None),
            (b"41", "9999", None),
            (b"42", "9999", "8888"),
            (b"42", "999999999999", "888888888888"),
        ):
            if (scheme == b"1") != (to == b"34"):
                continue
            block = (
                sm.format_iso9564_2_pin_block(new) if to == b"34" else sm.format_vis_pin_block(icc(AC), new, current)
            )
            kind = sm.EncryptionType.VISA if scheme == b"0" else sm.EncryptionType.MASTERCARD
            hidden = sm.encrypt_command_data(session(scheme, key), block, kind)
            mac = sm.generate_command_mac(session(scheme, SMI), PLAIN + hidden)
            tail = pin_tail(to, new, current, with_session=data, smc=mode == b"4")
            name = f"PIN {new} in format {to.decode()}, mode {mode.decode()}, scheme {scheme.decode()}"
            add(name, ku(mode, scheme, data, tail), mac, hidden)
    # Data for the card, put behind the header, before counter and cryptogram.
    clear = bytes.fromhex("DF0102AABB800000")
    cipher = tools.encrypt_tdes_cbc(TK, bytes(8), clear)
    for mode, key in ((b"1", SMI), (b"2", SMC)):
        own = sealed("309", SMC) if mode == b"2" else b""
        over = session(scheme, key)
        hidden = tdes(over, clear) if scheme == b"0" else tools.encrypt_tdes_cbc(over, bytes(8), clear)
        mac = sm.generate_command_mac(session(scheme, SMI), HEADER + hidden + ATC + ARQC)
        tail = own + sealed("00A", TK) + data + b"%04X" % len(HEADER) + counted(cipher)
        add(f"data, mode {mode.decode()}, scheme {scheme.decode()}", ku(mode, scheme, data, tail), mac, hidden)

# As pyemv's own tests print them: header and encrypted part only.
for scheme, data, to, new, current, header, hidden, mac in (
    (b"1", MC, b"34", "9999", None, "8424000210", "28367E05DE3381C2", "8C4D10091A093B5B"),
    (b"1", MC, b"34", "999999999999", None, "8424000210", "99AD3AF9EB3ECF0C", "1471D88C6393BE21"),
    (b"0", VISA, b"41", "9999", None, "8424000210", "D421231A6FD2F0FAEE671384F0D3A7B9", "F67E37E67B06AB99"),
    (b"0", VISA, b"42", "9999", "8888", "8424000110", "C29371CC36BA70C1EE671384F0D3A7B9", "6AB3AD15D8B0621A"),
    (b"0", VISA, b"42", "9" * 12, "8" * 12, "8424000110", "622066A74F1E974AEE671384F0D3A7B9", "829AC5DE4B88074D"),
):
    plain = bytes.fromhex(header)
    tail = pin_tail(to, new, current, offset=5, with_session=data)
    command = ku(b"4", scheme, data, tail, plain)
    add(f"printed by pyemv: {hidden}", command, bytes.fromhex(mac), bytes.fromhex(hidden))
hidden, mac = "28367E05DE3381C29D30A6055A8DEB86", "69DA1EE208823022"
command = b"KY40" + sealed("209", SMI) + CARD + ARQC + counted(HEADER)
command += pin_tail(b"34", "9999", offset=5, with_session=b"")
add(f"printed by pyemv: {hidden}", command, bytes.fromhex(mac), bytes.fromhex(hidden))

for branch, height, factor in ((b"0", 16, 2), (b"1", 8, 4), (None, 0, 0)):
    for counter in (b"\x00\x1c", b"\x12\x34")[: 1 if branch is None else 2]:

        def of(key):
            if branch is None:
                return kd.derive_common_sk(icc(key), ARQC)
            return kd.derive_emv2000_tree_sk(icc(key), counter, height, factor)

        by = ARQC if branch is None else branch + counter
        start = lambda mode, scheme: b"KY" + mode + scheme + sealed("209", SMI) + CARD + by + counted(PLAIN)
        add(f"KY {branch} {counter.hex()}: integrity", start(b"0", b"0"), sm.generate_command_mac(of(SMI), PLAIN))
        for scheme, to, kind in (
            (b"0", b"34", sm.EncryptionType.EMV),
            (b"1", b"34", sm.EncryptionType.MASTERCARD),
            (b"0", b"41", sm.EncryptionType.VISA),
        ):
            block = (
                sm.format_iso9564_2_pin_block("9999") if to == b"34" else sm.format_vis_pin_block(icc(AC), "9999")
            )
            hidden = sm.encrypt_command_data(of(SMC), block, kind)
            mac = sm.generate_command_mac(of(SMI), PLAIN + hidden)
            tail = pin_tail(to, "9999", with_session=b"")
            add(f"KY {branch} {counter.hex()}: scheme {scheme.decode()} format {to.decode()}", start(b"4", scheme) + tail, mac, hidden)

# KY for accounts of more than sixteen digits: option B. Schemes 2 and 3, and the account whole, are ours. The hash of
# the last account has fewer than sixteen decimal digits.
for pan, psn in (("12345678901234567", "01"), ("123456789012345678", "00"), ("5413330000000000002", "01")):
    digits = pan + psn
    card = bytes.fromhex("0" * (len(digits) % 2) + digits)
    of = lambda key: kd.derive_common_sk(kd.derive_icc_mk_b(key, pan, psn), ARQC)
    start = lambda mode, scheme: b"KY" + mode + scheme + sealed("209", SMI) + b"%02d" % len(card) + card + b";" + ARQC + counted(PLAIN)
    add(f"KY option B, {len(pan)} digits: integrity", start(b"0", b"2"), sm.generate_command_mac(of(SMI), PLAIN))
    for scheme, to, kind in ((b"3", b"34", sm.EncryptionType.MASTERCARD), (b"2", b"41", sm.EncryptionType.VISA)):
        block = (
            sm.format_iso9564_2_pin_block("9999")
            if to == b"34"
            else sm.format_vis_pin_block(kd.derive_icc_mk_b(AC, pan, psn), "9999")
        )
        hidden = sm.encrypt_command_data(of(SMC), block, kind)
        mac = sm.generate_command_mac(of(SMI), PLAIN + hidden)
        command = start(b"4", scheme) + pin_tail(to, "9999", with_session=b"")
        add(f"KY option B, {len(pan)} digits: scheme {scheme.decode()} format {to.decode()}", command, mac, hidden)

text = json.dumps({"made by": "make_emv.py, pyemv 1.5.0", "vectors": vectors}, indent=1)
(pathlib.Path(__file__).parent / "emv.json").write_text(text + "\n")
print(len(vectors), "vectors")
