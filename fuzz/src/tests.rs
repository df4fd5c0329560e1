use super::*;

/// Decodes what is a length and that many bytes.
fn honest(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first()?;
    (usize::from(*length) == rest.len()).then(|| bytes.to_vec())
}

#[test]
fn an_honest_decoder_passes() {
    for input in [&[][..], &[0], &[3, 1, 2, 3], &[9, 9]] {
        decoder(input, &[vec![2, 7, 7]], honest);
    }
}

#[test]
#[should_panic(expected = "encodes to the same bytes")]
fn two_encodings_of_one_value_are_found() {
    decoder(&[1], &[], |bytes| bytes.first().map(|byte| vec![byte & 0xfe]));
}

#[test]
#[should_panic(expected = "made the decoder hold")]
fn a_length_that_is_believed_is_found() {
    decoder(&[255; 4], &[], |bytes| {
        let claimed = u32::from_le_bytes(bytes.try_into().ok()?);
        let reserved: Vec<u8> = Vec::with_capacity(usize::try_from(claimed).ok()? / 1_000);
        std::hint::black_box(reserved);
        None
    });
}

#[test]
#[should_panic(expected = "deep inside")]
fn a_panic_comes_through() {
    decoder(&[1], &[], |_| panic!("deep inside"));
}

#[test]
fn a_script_damages_what_it_says_and_nothing_else() {
    let samples = [vec![10, 20, 30, 40], vec![1, 2]];
    assert_eq!(damaged(&[], &samples), samples[0], "no damage");
    assert_eq!(damaged(&[1], &samples), samples[1], "the other sample");
    assert_eq!(damaged(&[0, 0, 0, 1, 0, 99], &samples), [10, 99, 30, 40], "a byte");
    assert_eq!(damaged(&[0, 0, 3, 0, 0, 2], &samples), [255; 4], "a length");
    assert_eq!(damaged(&[0, 0, 5, 1, 0, 2], &samples), [10, 40], "removed");
    assert_eq!(damaged(&[0, 0, 6, 3, 0, 0], &samples), [10, 20, 30], "cut");
    assert_eq!(damaged(&[0, 0, 7, 0, 0, 2], &samples), [10, 20, 10, 20, 30, 40], "repeated");
    assert_eq!(damaged(&[0, 0, 9, 4, 0, 2, 1, 0, 0], &samples), [10, 20, 30, 40, 1, 2], "from the other");
    assert_eq!(damaged(&[0, 1, 6, 1, 0, 0, 7, 0, 0, 1], &samples), [10, 10], "two steps");
    assert_eq!(damaged(&[7, 7, 7], &[]), Vec::<u8>::new(), "nothing to damage");
}
