//! Issuer scripts: KU, KY and their answers.

use crate::hsm::payshield::wire::command::scripts::{
    CardNumber, CardScheme, Eight, Hidden, NewPin, Script, ScriptEmv, ScriptMode, Sealed, Session,
};
use crate::hsm::payshield::wire::field::{Account, FormatCode, Letter};
use crate::hsm::payshield::wire::key::{Key, Scheme};
use crate::hsm::payshield::wire::tests::sample::{ANY, DIGITS, Draw, HEX, Sample};

impl Sample for CardScheme {
    fn sample(draw: &mut Draw) -> Self {
        [Self::Visa, Self::Mastercard][draw.below(2)]
    }
}

impl Sample for Eight {
    fn sample(draw: &mut Draw) -> Self {
        Self(draw.chars(ANY))
    }
}

impl Sample for CardNumber<'static> {
    fn sample(draw: &mut Draw) -> Self {
        if draw.below(2) == 0 {
            return Self::End(draw.some());
        }
        let count = 1 + draw.below(12);
        Self::Whole(draw.kept(ANY, count))
    }
}

impl Sample for Session {
    fn sample(draw: &mut Draw) -> Self {
        if draw.below(2) == 0 {
            Self::Common(draw.some())
        } else {
            Self::Tree(b'1', draw.chars(ANY))
        }
    }
}

/// A key that says how long it is: beside binary fields one without a scheme is not told from them.
fn schemed(draw: &mut Draw) -> Key<'static> {
    Key::Ecb(Scheme::U, draw.kept(HEX, 32))
}

fn hidden(draw: &mut Draw, mode: ScriptMode, sessions: bool) -> Option<Hidden<'static>> {
    let (own, pin) = match mode {
        ScriptMode::Plain => return None,
        ScriptMode::Data => (false, false),
        ScriptMode::DataOwnKey => (true, false),
        ScriptMode::Pin => (false, true),
        ScriptMode::PinOwnKey => (true, true),
    };
    let to = [*b"34", *b"35", *b"41", *b"42"][draw.below(4)];
    let from = [*b"01", *b"47"][draw.below(2)];
    draw.wide = false;
    let of_pin = pin.then(|| NewPin {
        key_type: Letter(draw.chars(b"01F")),
        key: schemed(draw),
        from: FormatCode(from),
        to: FormatCode(to),
        account: Account::Twelve(draw.chars(DIGITS)),
        cryptograms: (to[0] == b'4').then(|| schemed(draw)),
        current: (to == *b"42").then(|| draw.some()),
    });
    Some(Hidden {
        key: own.then(|| schemed(draw)),
        transport: (!pin).then(|| schemed(draw)),
        session: sessions.then(|| draw.some()),
        offset: draw.below(60),
        data: draw.kept(ANY, 8),
        pin: of_pin,
    })
}

impl Sample for Script<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let modes = [
            ScriptMode::Plain,
            ScriptMode::Data,
            ScriptMode::DataOwnKey,
            ScriptMode::Pin,
            ScriptMode::PinOwnKey,
        ];
        let mode = modes[draw.below(5)];
        let count = 1 + draw.below(40);
        Self {
            mode,
            scheme: draw.some(),
            integrity: schemed(draw),
            card: draw.some(),
            session: draw.some(),
            plain: draw.kept(ANY, count),
            hidden: hidden(draw, mode, true),
        }
    }
}

impl Sample for ScriptEmv<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let mode =
            [ScriptMode::Plain, ScriptMode::DataOwnKey, ScriptMode::PinOwnKey][draw.below(3)];
        let count = 1 + draw.below(40);
        Self {
            mode,
            scheme: draw.some(),
            integrity: schemed(draw),
            card: draw.some(),
            session: draw.some(),
            plain: draw.kept(ANY, count),
            hidden: hidden(draw, mode, false),
        }
    }
}

impl Sample for Sealed<'static> {
    fn sample(draw: &mut Draw) -> Self {
        let count = draw.below(30);
        let data = draw.below(2) == 0;
        Self { mac: draw.chars(ANY), data: data.then(|| draw.kept(ANY, count)) }
    }
}
