"""Makes ebcdic.json: commands and answers of a payShield whose host port is set to EBCDIC.

Characters by Python's own codec cp037; bytes of binary fields stay, and where those are is written here by hand. What
the answers say is from payshield.json and emv.json; MACs of binary messages are by psec 1.3.0.
"""

import json
import pathlib

from psec import mac

HERE = pathlib.Path(__file__).parent
SET = "cp037"
# The delimiters, and the control character before a trailer, as the code charts of IBM have them.
assert ";%#!&*~|".encode(SET) == bytes.fromhex("5E6C7B5A505CA14F")
assert "\x19".encode(SET) == b"\x19"


def wire(*parts):
    """Text in EBCDIC, bytes as they are."""
    return b"".join(part.encode(SET) if isinstance(part, str) else part for part in parts).hex().upper()


def cut(whole, *widths):
    """Characters and bytes in turn, characters first; what is left is of the next kind."""
    parts, text = [], True
    for width in (*widths, len(whole)):
        piece, whole = whole[:width], whole[width:]
        parts.append(piece.decode("ascii") if text else piece)
        text = not text
    return parts


vectors = []


def add(name, command, answer):
    vectors.append({"name": name, "command": wire(*command), "answer": wire(*answer)})


payshield = json.loads((HERE / "payshield.json").read_text())
for vector in payshield["vectors"]:
    add(vector["name"], [vector["request"]], [vector["response"]])

TAK = payshield["meta"]["keys_under_LMK"]["TAK"]
CLEAR = bytes.fromhex(payshield["meta"]["clear_keys"]["TAK"])
EVERY = bytes(range(256))
TEXT = "; % # ! & * ~ | are characters"


def made(message):
    return mac.generate_retail_mac(CLEAR[:8], CLEAR[8:], message, 1).hex().upper()


for name, form, message in (("binary", "0", EVERY), ("text", "2", TEXT.encode("ascii"))):
    sent = EVERY if form == "0" else TEXT
    of = ["0" + form + "131003" + TAK + f"{len(sent):04X}", sent]
    add(f"M6 {name}", ["M6", *of], ["M700" + made(message)])
    add(f"M8 {name}", ["M8", *of, made(message)], ["M900"])
    add(f"M8 {name}, wrong", ["M8", *of, "0" * 16], ["M901"])
add("B2 all bytes", ["B20100", EVERY], ["B300", EVERY])
add("NC, LMK and trailer", ["NC%00\x19the end: 1"], ["ND0026860400000000001084-0906\x19the end: 1"])
add("unknown command", ["QQ"], ["QR68"])
add("nothing after the header", [], ["ZZ51"])

# KU and KY of a PIN, as pyemv printed them. Characters, bytes, characters ...
emv = {vector["name"]: vector for vector in json.loads((HERE / "emv.json").read_text())["vectors"]}
ku = "printed by pyemv: 28367E05DE3381C2"
ky = "printed by pyemv: 28367E05DE3381C29D30A6055A8DEB86"
for name, widths, hidden in (
    # Code, mode, scheme, key | card, session | length | plain | ; key | session | offset, length | block | ; and more.
    (ku, (2 + 2 + 33, 16, 4, 5, 1 + 33, 8, 8, 8), 8),
    # The same without session data of its own.
    (ky, (2 + 2 + 33, 16, 4, 5, 1 + 33 + 8, 8), 16),
):
    command, answer = (bytes.fromhex(emv[name][key]) for key in ("command", "answer"))
    add(f"{command[:2].decode()}, {name}", cut(command, *widths), cut(answer, 4, 8, 4))
    assert len(answer) == 4 + 8 + 4 + hidden

text = json.dumps({"made by": "make_ebcdic.py, Python's cp037, psec 1.3.0", "vectors": vectors}, indent=1)
(HERE / "ebcdic.json").write_text(text + "\n")
print(len(vectors), "vectors")
