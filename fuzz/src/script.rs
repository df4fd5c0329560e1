//! Damage to well-formed bytes, as a script says: itself any bytes.

/// Damage that one script does at most.
const STEPS_MAX: u8 = 8;
/// Bytes that one step removes, repeats or brings over from another sample at most.
const PIECE_BYTES_MAX: usize = 256;

/// One of the samples with the damage that the script describes. The first byte chooses the sample, the second how many
/// steps there are, as long as the script goes on; each step is a kind, a place and an amount. Without samples there is
/// nothing to damage.
#[must_use]
pub fn damaged(script: &[u8], samples: &[Vec<u8>]) -> Vec<u8> {
    let mut script = Script(script);
    let first = script.byte();
    let Some(mut bytes) = pick(first, samples).cloned() else { return Vec::new() };
    for _ in 0..=script.byte() % STEPS_MAX {
        if script.0.is_empty() {
            break;
        }
        step(&mut script, &mut bytes, samples);
    }
    bytes
}

fn step(script: &mut Script<'_>, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let kind = script.byte() % 10;
    let at = usize::from(script.two()) % (bytes.len() + 1);
    let amount = script.byte();
    let piece = usize::from(amount) % PIECE_BYTES_MAX;
    let end = bytes.len().min(at + piece);
    match kind {
        // A byte: another, one bit of it, one more or less.
        0 => change(bytes, at, |_| amount),
        1 => change(bytes, at, |byte| byte ^ (1 << (amount % 8))),
        2 => change(bytes, at, |byte| {
            if amount.is_multiple_of(2) { byte.wrapping_add(1) } else { byte.wrapping_sub(1) }
        }),
        // What could be a length, of 32 or 64 bits, or a discriminant: edges.
        3 => overwrite(bytes, at, &edge(amount).to_le_bytes()[..4]),
        4 => overwrite(bytes, at, &edge(amount).to_le_bytes()),
        5 => drop(bytes.drain(at..end)),
        6 => bytes.truncate(at),
        7 => {
            let again = bytes[at..end].to_vec();
            insert(bytes, at, &again);
        }
        8 => insert(bytes, at, &vec![amount; piece % 9]),
        _ => {
            let other = pick(script.byte(), samples).map_or(&[][..], Vec::as_slice);
            let from = usize::from(script.two()) % (other.len() + 1);
            insert(bytes, at, &other[from..other.len().min(from + piece)]);
        }
    }
}

fn pick(choice: u8, samples: &[Vec<u8>]) -> Option<&Vec<u8>> {
    samples.get(usize::from(choice) % samples.len().max(1))
}

fn change(bytes: &mut [u8], at: usize, to: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to(*byte);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes.iter_mut().skip(at).zip(with).for_each(|(byte, new)| *byte = *new);
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}

/// Numbers at which decoders and arithmetic may err.
fn edge(choice: u8) -> u64 {
    match choice % 8 {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::from(u32::MAX),
        4 => u64::from(u32::MAX) / 2,
        5 => u64::MAX / 2 + 1,
        6 => 1 << (choice / 8),
        _ => (1 << (choice / 8)) - 1,
    }
}

/// Bytes that are read one after the other; past the end they are 0.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn two(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}
