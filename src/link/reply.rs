//! The answer to one message: which elements are given back, and where the response code goes.
//!
//! A [`Reply`] holds the request's frame and the spans of the elements to echo, so that answering copies wire bytes
//! instead of encoding values again. **Never here:** a PIN block or a track: the map refuses to echo those.

use bytes::{Bytes, BytesMut};

use crate::domain::chip::IssuerScript;
use crate::iso8583::frame::Header;
use crate::iso8583::{Bitmap, Builder, Dialect, EncodeError, Message};
use crate::link::chip::ChipPlace;
use crate::link::codes::Code;
use crate::link::map::PinMap;

/// Most elements an answer gives back.
const ECHO_FIELDS_MAX: usize = 24;

/// What is needed to answer one message.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    frame: Bytes,
    header: Header,
    mti: [u8; 4],
    spans: [Span; ECHO_FIELDS_MAX],
    count: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    field: u8,
    start: u16,
    end: u16,
}

impl Reply {
    /// Notes the elements to echo. `message` was decoded from `frame`, whole or up to the element that broke.
    pub(super) fn to(
        message: &Message<'_>,
        frame: Bytes,
        header: Header,
        echo_fields: &Bitmap,
        also: Option<u8>,
    ) -> Self {
        let mut reply = Self {
            frame,
            header,
            mti: response_mti(message.mti()),
            spans: [Span::default(); ECHO_FIELDS_MAX],
            count: 0,
        };
        for field in message.present() {
            if echo_fields.has(field) || also == Some(field) {
                reply.note(message, field);
            }
        }
        reply
    }

    /// The whole message that is answered.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The header its frame had, which the answer's frame reflects.
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    fn note(&mut self, message: &Message<'_>, field: u8) {
        let at = usize::from(self.count);
        //= spec/pin-change.md#1.2
        //# Of a message that broke, nothing from the broken element on MUST be used.
        let (Some(start), Some(wire)) = (message.offset(field), message.raw(field)) else {
            return;
        };
        let Some(slot) = self.spans.get_mut(at) else { return };
        // A frame is shorter than 64 KiB (limits.rs), so its offsets fit.
        let (Ok(start), Ok(end)) = (u16::try_from(start), u16::try_from(start + wire.len())) else {
            return;
        };
        *slot = Span { field, start, end };
        self.count += 1;
    }

    /// Writes the answer behind what `out` holds: what is given back, and in its places what is ours. A MAC is left to
    /// [`Builder::finish_with_mac`].
    ///
    /// # Errors
    /// [`EncodeError`] when the dialect has no rule for an element of ours, which its loading has ruled out.
    pub(super) fn write<'d, 'o>(
        &self,
        dialect: &'d Dialect,
        map: &PinMap,
        code: Code,
        script: Option<&IssuerScript>,
        out: &'o mut BytesMut,
    ) -> Result<Builder<'d, 'o>, EncodeError> {
        let mut builder = Builder::new(dialect, self.mti, out);
        let mut own = [Some(Own::Code(map.response_code, code)), None];
        if let (Some(place), Some(script)) = (map.chip, script) {
            own[1] = Some(Own::Script(place, script));
        }
        own.sort_unstable_by_key(|own| own.as_ref().map(Own::field));
        let mut own = own.into_iter().flatten().peekable();
        let spans = &self.spans[..usize::from(self.count)];
        for span in spans.iter().filter(|span| span.field != map.response_code) {
            while let Some(own) = own.next_if(|own| own.field() < span.field) {
                own.write(&mut builder)?;
            }
            //= spec/pin-change.md#8.1
            //# An answer MUST give back the elements its dialect lists as the bytes that came.
            builder.raw(span.field, &self.frame[usize::from(span.start)..usize::from(span.end)])?;
        }
        for own in own {
            own.write(&mut builder)?;
        }
        Ok(builder)
    }
}

/// An element of an answer that is not given back but ours.
enum Own<'s> {
    Code(u8, Code),
    Script(ChipPlace, &'s IssuerScript),
}

impl Own<'_> {
    fn field(&self) -> u8 {
        match self {
            Self::Code(field, _) => *field,
            Self::Script(place, _) => place.field,
        }
    }

    fn write(&self, builder: &mut Builder<'_, '_>) -> Result<(), EncodeError> {
        match self {
            Self::Code(field, code) => builder.text(*field, code.as_bytes()),
            //= spec/pin-change.md#12.1
            //# Chip data of an answer MUST be one issuer script and nothing else.
            Self::Script(place, script) => place.write(script, builder),
        }
    }
}

/// The MTI of the answer: function digit one higher, repeat digit cleared (0101 → 0110, 0421 → 0430).
fn response_mti(mti: [u8; 4]) -> [u8; 4] {
    let origin = match mti[3] {
        b'1' => b'0',
        b'3' => b'2',
        b'5' => b'4',
        other => other,
    };
    [mti[0], mti[1], mti[2].saturating_add(1), origin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, want: &str) {
        let mti: [u8; 4] = request.as_bytes().try_into().unwrap();
        assert_eq!(response_mti(mti), want.as_bytes(), "{request}");
    }

    /// `domain/iso8583.md` 3.1: response is digit 3 plus 1, the repeat digit cleared.
    #[test]
    fn response_mtis() {
        check("0100", "0110");
        check("0101", "0110");
        check("0601", "0610");
        check("0420", "0430");
        check("0421", "0430");
        check("1804", "1814");
        check("2600", "2610");
    }
}
