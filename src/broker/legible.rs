//! Frames from the broker, with every text in them made UTF-8.
//!
//! AMQP 0-9-1 says of its short strings that they are UTF-8, and RabbitMQ passes on whatever a producer wrote; older
//! clients write binary correlation ids. The client library gives up its connection for one of them. So each byte that
//! is no UTF-8 becomes the control character *substitute* before the library sees it: no length changes, and a property
//! with such a character is known for what it was.
//!
//! Only what a short string can stand in is looked at: the methods that bring a message, its properties, and the names
//! of its headers. Bodies pass untouched.

/// What stands for a byte that is no UTF-8: ASCII's SUB, which no text has.
pub const SUBSTITUTE: char = '\u{1a}';

/// Type, channel, size of the payload.
const HEAD: usize = 7;
/// A frame's last byte.
const END: usize = 1;
const METHOD: u8 = 1;
const PROPERTIES: u8 = 2;
const CLASS_BASIC: u16 = 60;

/// The frames of one connection, as they come in, in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a frame that is looked at once it is whole.
    pending: Vec<u8>,
    /// Bytes of a frame that is not looked at.
    passing: usize,
}

impl Frames {
    /// Takes a piece in, and puts out what is done with.
    pub fn take(&mut self, mut piece: &[u8], out: &mut Vec<u8>) {
        while !piece.is_empty() {
            let wanted = if self.passing > 0 {
                self.passing
            } else {
                self.wanted()
            };
            let (taken, rest) = piece.split_at(wanted.min(piece.len()));
            piece = rest;
            if self.passing > 0 {
                self.passing -= taken.len();
                out.extend_from_slice(taken);
                continue;
            }
            self.pending.extend_from_slice(taken);
            self.look(out);
        }
    }

    /// Bytes up to the end of the frame's head, or of the frame.
    fn wanted(&self) -> usize {
        match self.size() {
            Some(size) => size - self.pending.len(),
            None => HEAD - self.pending.len(),
        }
    }

    /// Of the whole frame, once its head is there.
    fn size(&self) -> Option<usize> {
        let size = self.pending.get(3..HEAD)?;
        Some(u32::from_be_bytes(size.try_into().ok()?) as usize + HEAD + END)
    }

    fn look(&mut self, out: &mut Vec<u8>) {
        let Some(size) = self.size() else { return };
        if !matches!(self.pending[0], METHOD | PROPERTIES) {
            self.passing = size - self.pending.len();
        } else if self.pending.len() < size {
            return;
        } else {
            mend(&mut self.pending);
        }
        out.append(&mut self.pending);
    }
}

/// Makes the texts of a whole frame legible; what cannot be read as the protocol says is left as it is.
fn mend(frame: &mut [u8]) {
    let (kind, end) = (frame[0], frame.len() - END);
    let mut payload = Payload(&mut frame[HEAD..end]);
    let _ = match kind {
        METHOD => payload.method(),
        _ => payload.properties(),
    };
}

/// What is left to read of a payload.
struct Payload<'a>(&'a mut [u8]);

impl<'a> Payload<'a> {
    fn method(&mut self) -> Option<()> {
        match (self.u16()?, self.u16()?) {
            // basic.return: reply code; reply text, exchange, routing key.
            (CLASS_BASIC, 50) => self.skip(2)?.texts(3),
            // basic.deliver: consumer tag; delivery tag, redelivered; exchange, routing key.
            (CLASS_BASIC, 60) => self.text()?.skip(9)?.texts(2),
            // basic.get-ok: delivery tag, redelivered; exchange, routing key.
            (CLASS_BASIC, 71) => self.skip(9)?.texts(2),
            _ => Some(()),
        }
    }

    /// Class, weight, size of the body, flags; then each property whose flag is set, from the highest bit on.
    fn properties(&mut self) -> Option<()> {
        let flags = self.skip(12)?.u16()?;
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            match bit {
                13 => self.table()?,
                // Delivery mode, priority.
                12 | 11 => self.skip(1)?,
                // Timestamp.
                6 => self.skip(8)?,
                _ => self.text()?,
            };
        }
        Some(())
    }

    fn texts(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.text().map(|_| ()))
    }

    fn text(&mut self) -> Option<&mut Self> {
        let length = self.take(1)?[0].into();
        make_legible(self.take(length)?);
        Some(self)
    }

    /// A table's names are texts; of its values only tables and arrays hold further names.
    fn table(&mut self) -> Option<&mut Self> {
        let mut entries = self.sized()?;
        while !entries.0.is_empty() {
            entries.text()?.value()?;
        }
        Some(self)
    }

    fn array(&mut self) -> Option<&mut Self> {
        let mut values = self.sized()?;
        while !values.0.is_empty() {
            values.value()?;
        }
        Some(self)
    }

    fn value(&mut self) -> Option<&mut Self> {
        match self.take(1)?[0] {
            b'F' => self.table(),
            b'A' => self.array(),
            b'S' | b'x' => {
                self.sized()?;
                Some(self)
            }
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'u' | b'U' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'L' | b'l' | b'd' | b'T' => self.skip(8),
            b'V' => Some(self),
            _ => None,
        }
    }

    /// What stands behind its own length.
    fn sized(&mut self) -> Option<Payload<'a>> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize).map(Payload)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn skip(&mut self, bytes: usize) -> Option<&mut Self> {
        self.take(bytes)?;
        Some(self)
    }

    fn take(&mut self, bytes: usize) -> Option<&'a mut [u8]> {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

fn make_legible(mut text: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(text) {
        let (begin, rest) = (error.valid_up_to(), text.len() - error.valid_up_to());
        let end = begin + error.error_len().unwrap_or(rest);
        text[begin..end].fill(SUBSTITUTE as u8);
        text = &mut text[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: &[u8] = b"id-\xff\xc3(";
    const MENDED: &[u8] = b"id-\x1a\x1a(";

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 3], &size[..], payload, &[0xce]].concat()
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [
            &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..],
            bytes,
        ]
        .concat()
    }

    /// A delivery, its properties, its body and a heartbeat, with this text wherever one can stand.
    fn stream(any: &[u8]) -> Vec<u8> {
        let deliver = [
            &[0, 60, 0, 60][..],
            &text(any),
            &[0; 9],
            &text(any),
            &text(any),
        ]
        .concat();
        let inner = [text(any), b"V".to_vec()].concat();
        let array = [&b"S"[..], &sized(BINARY), b"F", &sized(&inner)].concat();
        let table = [
            text(any),
            [&b"S"[..], &sized(BINARY)].concat(),
            text(b"list"),
            [&b"A"[..], &sized(&array)].concat(),
            text(b"n"),
            b"l\0\0\0\0\xff\0\0\0".to_vec(),
        ]
        .concat();
        let properties = [
            &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xfc][..],
            &text(any),
            &text(any),
            &sized(&table),
            &[2, 0],
            &text(any).repeat(4),
            &[0xff; 8],
            &text(any).repeat(4),
        ]
        .concat();
        [
            frame(METHOD, &deliver),
            frame(PROPERTIES, &properties),
            frame(3, BINARY),
            frame(8, b""),
        ]
        .concat()
    }

    fn through(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut frames, mut out) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            frames.take(piece, &mut out);
        }
        out
    }

    #[test]
    fn every_text_becomes_legible_and_nothing_else_changes_however_the_bytes_come() {
        for piece in [1, 2, 7, 64, 100_000] {
            assert_eq!(through(&stream(BINARY), piece), stream(MENDED), "{piece}");
            let good = stream("größer".as_bytes());
            assert_eq!(through(&good, piece), good, "{piece}");
        }
    }

    #[test]
    fn what_is_no_frame_of_a_message_passes_as_it_is() {
        for strange in [
            &b"AMQP\0\0\x09\x01 and more"[..],
            &frame(METHOD, &[0, 60, 0, 60, 200, 0xff]),
            &frame(PROPERTIES, &[0xff; 20]),
            &frame(METHOD, &[0, 10, 0, 10, 0xff, 0xff]),
            &frame(METHOD, b""),
        ] {
            assert_eq!(through(strange, 3), strange);
        }
    }
}
