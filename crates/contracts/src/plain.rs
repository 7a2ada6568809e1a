//! A reader of plain JSON: texts without escapes, in one pass and with the memory that
//! the result takes. It says nothing of what it cannot read: the general reader does,
//! with the place and the reason, and reads what is only unusual.
//!
//! Not here: which fields an event has, and errors.

use crate::ByName;

/// A place in a JSON text. Every method gives none where what follows is not plainly
/// what was asked for; the cursor means nothing then.
pub(crate) struct Plain<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Plain<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// An object: `field` reads the value of each name.
    pub(crate) fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |json| {
            let name = json.text()?;
            json.take(b':')?;
            field(json, name)
        })
    }

    /// An object of values by name, no name twice.
    pub(crate) fn by_name<T>(&mut self, mut value: impl FnMut(&mut Self) -> Option<T>) -> Option<ByName<T>> {
        /// Most objects are shorter, and few are much shorter.
        const ROOM: usize = 8;
        let mut all = ByName::default();
        all.reserve(ROOM);
        // Out of order is unusual, and a repetition is an error.
        self.object(|json, name| all.push(name, value(json)?).ok())?;
        Some(all)
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        self.list(b'[', b']', |json| {
            all.push(json.text()?.to_owned());
            Some(())
        })?;
        Some(all)
    }

    /// A text without escapes.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let from = self.at;
        let rest = &self.text.as_bytes()[from..];
        let length = unlike_text(rest);
        // What ended it may also be a backslash, or a control character.
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.at = from + length + 1;
        Some(&self.text[from..from + length])
    }

    /// A number, as it is written.
    pub(crate) fn number(&mut self) -> Option<&'a str> {
        self.skip_space();
        let from = self.at;
        self.accept(b'-');
        // A zero stands alone before the point.
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _sign = self.accept(b'-') || self.accept(b'+');
            self.digits()?;
        }
        Some(&self.text[from..self.at])
    }

    /// A number that f64 has room for, rounded to the nearest.
    pub(crate) fn float(&mut self) -> Option<f64> {
        self.number()?.parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        if self.word("true") {
            return Some(true);
        }
        self.word("false").then_some(false)
    }

    /// Null, or a value.
    pub(crate) fn or_null<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.word("null") { Some(None) } else { value(self).map(Some) }
    }

    /// Whether a text comes next.
    pub(crate) fn is_text(&mut self) -> bool {
        self.skip_space();
        self.text.as_bytes().get(self.at) == Some(&b'"')
    }

    /// Nothing follows.
    pub(crate) fn end(&mut self) -> Option<()> {
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    fn list(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        self.skip_space();
        if self.accept(close) {
            return Some(());
        }
        loop {
            item(self)?;
            self.skip_space();
            if self.accept(close) {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn digits(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }

    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        self.accept(byte).then_some(())
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }
}

/// How many bytes come before the first that is a quote, a backslash or a control
/// character: eight at once.
fn unlike_text(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is below `than`, which is 128 at most; bytes behind the
    // first of them may be marked too.
    let below = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = is(b'"') | is(b'\\') | below(word, 0x20);
        if found != 0 {
            return nth * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let in_rest = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + in_rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_one_of_json_and_nothing_else() {
        let read = |text: &str| {
            let mut json = Plain::new(text);
            json.float().filter(|_| json.end().is_some())
        };
        for text in ["0", "-0", "10.5", "1e5", "-2.50E-3", " 7 ", "0.1"] {
            assert_eq!(read(text), serde_json::from_str(text).ok(), "{text}");
        }
        for text in ["01", "+1", ".5", "1.", "1e", "--1", "NaN", "1e999", "", "1 2", "-"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_ends_where_its_quote_is(text in "[a-zé☃\"\\\\\u{0}-\u{30}]{0,40}") {
            let whole = format!("\"{text}");
            let wanted = text.find(|c: char| matches!(c, '"' | '\\') || (c as u32) < 0x20);
            let wanted = wanted.filter(|at| text.as_bytes()[*at] == b'"').map(|at| &text[..at]);
            prop_assert_eq!(Plain::new(&whole).text(), wanted);
        }

        #[test]
        fn a_float_is_the_one_that_the_general_reader_reads(value in any::<f64>().prop_filter("JSON", |v| v.is_finite())) {
            let text = serde_json::to_string(&value).unwrap();
            let bits = Plain::new(&text).float().map(f64::to_bits);
            prop_assert_eq!(bits, serde_json::from_str::<f64>(&text).ok().map(f64::to_bits));
        }
    }
}
