"""Key ceremonies at a terminal: `pinion keys ceremony` on a pseudo terminal, with custodians that type.

Check values are by psec. Each scenario prints a line that begins with "ok"; what is not as promised ends it all.
Arguments: the binary, an empty directory.
"""

import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import warnings

warnings.filterwarnings("ignore")  # Triple DES is old, and what ZMKs are.

from psec import des, tools  # noqa: E402

PINION, PLACE = sys.argv[1], pathlib.Path(sys.argv[2])
FILES = ["--keys", PLACE / "keys.toml", "--lmk", PLACE / "lmk.key"]
PARTS = [
    "1111 1111 1111 1111  2222 2222 2222 2222",
    "0123456789abcdeffedcba9876543210",
    "952859EB9390CAFCBED4480ABD90A042",
]
FORMS = [bytes.fromhex(part) for part in PARTS]
KEY = tools.xor(tools.xor(FORMS[0], FORMS[1]), FORMS[2])
NAMES = ["Ana", "Bo", "Cem"]
PATIENCE = 30


def kcv(key):
    return des.generate_kcv(key, 3).hex().upper()


# The ZMK of the payShield vectors.
assert KEY.hex().upper() == "851A0D9D0B2A1602622AD0B0E9E6B070" and kcv(KEY) == "E14F4E"


class Terminal:
    """A command whose standard input and error are a terminal, and its output, too, unless it is `piped`."""

    def __init__(self, *arguments, piped=False):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.seen, self.new = "", ""

        def controlling():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # As a login has them. What runs in the background of a script was told to ignore both.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGQUIT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            [PINION, "keys", *arguments, *FILES],
            stdin=self.slave,
            stdout=subprocess.PIPE if piped else self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=controlling,
        )

    def expect(self, text):
        """Waits until the terminal shows this, behind what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.new:
            assert self.read(max(0, deadline - time.monotonic())), f"{text!r} is not in {self.new!r}"
        self.new = self.new[self.new.index(text) + len(text) :]

    def read(self, patience):
        """Whatever the terminal shows next."""
        ready, _, _ = select.select([self.master], [], [], patience)
        shown = os.read(self.master, 4096).decode() if ready else ""
        self.seen, self.new = self.seen + shown, self.new + shown
        return shown

    def type(self, text):
        os.write(self.master, text.encode())

    def has(self, mode):
        return bool(termios.tcgetattr(self.slave)[3] & mode)

    def component(self, number, part, form):
        """A custodian types a component, sees no character of it, and then its check value."""
        self.expect(f"{NAMES[number]}, component {number + 1} of 3: ")
        assert not self.has(termios.ECHO), "the terminal shows what is typed"
        self.type(part + "\n")
        self.expect(f"component {number + 1} ({NAMES[number]}) check value {kcv(form)}")
        self.expect("is it the one on your form? (yes/no) ")
        assert self.has(termios.ECHO)

    def ended(self):
        output, _ = self.process.communicate(timeout=PATIENCE)
        while self.read(0):
            pass
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        for part in PARTS:
            for text in (part, part[:9], part[-9:]):
                assert text not in self.seen, self.seen
        return self.process.returncode, output and output.decode()


def ceremony(*more, piped=False):
    custodians = [word for name in NAMES for word in ("--custodian", name)]
    start = ["ceremony", "zmk.partner", "--type", "ZMK", "--allow-test-keys"]
    return Terminal(*start, *custodians, "--record", PLACE / "record.jsonl", *more, piped=piped)


def files():
    return {path.name: path.read_bytes() for path in PLACE.iterdir()}


def listed():
    arguments = [PINION, "keys", "list", "--json", "--allow-test-keys", *FILES]
    output = subprocess.run(arguments, check=True, capture_output=True).stdout
    return json.loads(output)


subprocess.run([PINION, "keys", "init", *FILES], check=True, stdout=2)
BEFORE = files()


def left_as_it_was(what, terminal, status, said):
    code, _ = terminal.ended()
    assert code == status, (what, code, terminal.seen)
    assert said in terminal.seen, (what, terminal.seen)
    assert files() == BEFORE, what
    print("ok", what)


it = ceremony()
it.component(0, PARTS[0], FORMS[0])
it.type("yes\n")
it.component(1, PARTS[1][:-1] + "1", FORMS[1][:-1] + b"\x11")
it.type("no\n")
left_as_it_was("a custodian who does not agree ends it", it, 1, "Bo did not agree: nothing was kept")

it = ceremony()
it.component(0, PARTS[0], FORMS[0])
it.type("yes\n")
it.expect("Bo, component 2 of 3: ")
it.type(PARTS[1][:20] + "\x03")
left_as_it_was("Ctrl-C in the middle of a component", it, 1, "interrupted: nothing was kept")

it = ceremony()
it.expect("Ana, component 1 of 3: ")
it.type("\x1c")
left_as_it_was("Ctrl-\\ before a component", it, 1, "interrupted: nothing was kept")

it = ceremony()
it.component(0, PARTS[0], FORMS[0])
it.type("\x03")
left_as_it_was("Ctrl-C at a question", it, -signal.SIGINT, "")

it = ceremony()
for typed, said in (
    ("0123 4567 x1\n", "character 9 is no hex digit"),
    ("\n", "0 hex digits; a key has 32, 48 or 64: enter it again"),
    ("\x04", "0 hex digits"),
):
    it.expect("Ana, component 1 of 3: ")
    assert not it.has(termios.ECHO)
    it.type(typed)
    it.expect(said)
left_as_it_was("three lines that are no component", it, 1, "Ana, component 1 of 3: 0 hex digits")

it = ceremony("--kcv", "E14F4F")
for number, part in enumerate(PARTS):
    it.component(number, part, FORMS[number])
    it.type("yes\n")
left_as_it_was("a key that is another than announced", it, 1, "E14F4F")

it = ceremony(piped=True)
it.expect("Ana, component 1 of 3: ")
it.type("not hex\n")
it.expect("enter it again")
for number, part in enumerate(PARTS):
    it.component(number, part, FORMS[number])
    it.type("yes\n")
it.expect(f"key check value {kcv(KEY)}")
it.expect("is it the one that was announced? (yes/no) ")
it.type("yes\n")
code, output = it.ended()
assert code == 0, it.seen
assert output.startswith("zmk.partner ZMK sealed in "), output
assert [row["kcv"] for row in listed() if row["name"] == "zmk.partner"] == [kcv(KEY)]
record = json.loads((PLACE / "record.jsonl").read_text())
assert [(row["name"], row["kcv"]) for row in record["custodians"]] == [(n, kcv(f)) for n, f in zip(NAMES, FORMS)]
print("ok a key of three custodians, after a line that was none")

it = ceremony("--json", "--replace", piped=True)
for number, part in enumerate(PARTS):
    it.component(number, part, FORMS[number])
    it.type("yes\n")
it.expect(f"key check value {kcv(KEY)}")
it.type("yes\n")
code, output = it.ended()
assert code == 0, it.seen
assert json.loads(output)["ceremony"]["kcv"] == kcv(KEY)
print("ok JSON on standard output, check values beside the questions")

it = Terminal("import", "zmk.other", "--type", "ZMK", "--components", "2", "--allow-test-keys")
for number in (1, 2):
    it.expect(f"component {number} of 2: ")
    assert not it.has(termios.ECHO)
    it.type(PARTS[number] + "\n")
code, _ = it.ended()
assert code == 0, it.seen
assert [row["kcv"] for row in listed() if row["name"] == "zmk.other"] == [kcv(tools.xor(FORMS[1], FORMS[2]))]
print("ok an import of two components")
