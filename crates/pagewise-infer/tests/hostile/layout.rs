//! Where what stands in a GGUF file that is in order, so that each number in it can be made wrong.

/// What a field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How many or how long, or where: 64 bits.
    Size,
    /// Which type, or how many dimensions: 32 bits.
    Type,
    /// A whole number of a few bytes.
    Whole,
    /// A float of 32 bits.
    Float,
    /// Text.
    Text,
}

/// A field of the header.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// What it belongs to.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    pub(crate) len: usize,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<Field>,
}

/// Returns the fields of a header, in order.
pub(crate) fn fields(bytes: &[u8]) -> Vec<Field> {
    let mut walk = Walk { bytes, at: 4, fields: Vec::new() };
    walk.field("version", Kind::Type, 4);
    let n_tensors = walk.field("tensors", Kind::Size, 8);
    let n_entries = walk.field("entries", Kind::Size, 8);
    for _ in 0..n_entries {
        let key = walk.text("key");
        let number = walk.field(&key, Kind::Type, 4);
        walk.value(&key, number, 4);
    }
    for _ in 0..n_tensors {
        let name = walk.text("tensor");
        let n_dimensions = walk.field(&name, Kind::Type, 4);
        for _ in 0..n_dimensions {
            walk.field(&name, Kind::Size, 8);
        }
        walk.field(&name, Kind::Type, 4);
        walk.field(&name, Kind::Size, 8);
    }
    walk.fields
}

impl Walk<'_> {
    fn field(&mut self, name: &str, kind: Kind, len: usize) -> u64 {
        let mut number = [0; 8];
        let read = len.min(8);
        number[..read].copy_from_slice(&self.bytes[self.at..self.at + read]);
        if len > 0 {
            self.fields.push(Field { name: name.to_owned(), kind, at: self.at, len });
        }
        self.at += len;
        u64::from_le_bytes(number)
    }

    fn text(&mut self, name: &str) -> String {
        let len = self.field(name, Kind::Size, 8) as usize;
        let text = String::from_utf8(self.bytes[self.at..self.at + len].to_vec()).unwrap();
        self.field(&text, Kind::Text, len);
        text
    }

    /// Walks a value of the type `number`; of a long array only the first few elements.
    fn value(&mut self, key: &str, number: u64, most: usize) {
        match number {
            0 | 1 | 7 => _ = self.field(key, Kind::Whole, 1),
            4 | 5 => _ = self.field(key, Kind::Whole, 4),
            6 => _ = self.field(key, Kind::Float, 4),
            10 | 11 => _ = self.field(key, Kind::Whole, 8),
            8 => _ = self.text(key),
            9 => {
                let element = self.field(key, Kind::Type, 4);
                let len = self.field(key, Kind::Size, 8) as usize;
                for index in 0..len {
                    let n_fields = self.fields.len();
                    self.value(key, element, most);
                    if index >= most {
                        self.fields.truncate(n_fields);
                    }
                }
            }
            other => panic!("the writer has no type {other}"),
        }
    }
}
