use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fixtures::{check_bytes, check_decoder};

/// The defaults with one parameter set through its JSON name, as a genesis document does.
fn with(key: &str, value: u128) -> Parameters {
    let mut json = serde_json::to_value(Parameters::default()).expect("json");
    let field = json.get_mut(key).expect("a parameter");
    *field = if field.is_string() {
        value.to_string().into()
    } else {
        u64::try_from(value).expect("a small one").into()
    };
    serde_json::from_value(json).expect("a value of the parameter's type")
}

#[test]
fn the_defaults_fit_each_other() {
    assert_eq!(Parameters::default().check(), Ok(()));
}

#[test]
fn the_table_is_the_struct() {
    let json = serde_json::to_value(Parameters::default()).expect("json");
    let table = Parameters::table();
    assert_eq!(json.as_object().expect("an object").len(), table.len());
    for (row, value) in table.iter().zip(Parameters::default().values()) {
        assert_eq!(value, row.default, "{}", row.key);
        assert!(row.min <= row.default && row.default <= row.max, "{}", row.key);
        assert!(!row.meaning.is_empty() && !row.unit.is_empty(), "{}", row.key);
        assert!(json.get(row.key).is_some(), "{}", row.key);
    }
    for (place, row) in table.iter().enumerate() {
        let changed = with(row.key, row.max);
        assert_eq!(changed.values()[place], row.max, "the values stand in the order of the table");
    }
}

#[test]
fn every_parameter_is_allowed_at_its_bounds_and_refused_one_past_them() {
    for row in Parameters::table() {
        let refused_by_bounds = |value: u128| match with(row.key, value).check() {
            Err(error) => error.key == row.key && error.reason.contains(" to "),
            Ok(()) => false,
        };
        assert!(!refused_by_bounds(row.min) && !refused_by_bounds(row.max), "{}", row.key);
        assert!(refused_by_bounds(row.max + 1), "{}", row.key);
        assert!(row.min == 0 || refused_by_bounds(row.min - 1), "{}", row.key);
    }
}

#[test]
fn a_refusal_names_parameter_value_and_what_is_allowed() {
    let error = with("window", 129).check().expect_err("one past the bound");
    assert_eq!(error.to_string(), "window = 129: must be 1 to 128 (blocks)");
    let error = Parameters { window: 65, ..Parameters::default() }.check().expect_err("L is below 2 W");
    assert_eq!(error.to_string(), "log_window = 128: must be at least 130, twice the window");
}

#[test]
fn what_is_in_flight_fits_one_answer() {
    let full = |window| Parameters { window, block_bytes_max: BLOCK_BYTES_LIMIT, ..Parameters::default() };
    assert_eq!(full(11).check(), Ok(()));
    let error = full(12).check().expect_err("one past the bound");
    assert_eq!(error.to_string(), "window = 12: must be at most 11 with blocks of 16777216 bytes");
}

#[test]
fn the_log_window_is_at_least_twice_the_window() {
    let of = |window, log_window| Parameters { window, log_window, ..Parameters::default() }.check();
    assert_eq!(of(8, 16), Ok(()));
    assert_eq!(of(8, 15).expect_err("one past").key, "log_window");
}

#[test]
fn one_limit_does_not_exceed_what_contains_it() {
    let key_of = |parameters: Parameters| parameters.check().map_err(|error| error.key);
    let default = Parameters::default;

    let of = |block_bytes_max| Parameters { block_bytes_max, ..default() };
    assert_eq!(key_of(of(65_536)), Ok(()));
    assert_eq!(key_of(of(65_535)), Err("transaction_bytes_max"));

    let of = |transaction_bytes_max| Parameters { transaction_bytes_max, ..default() };
    assert_eq!(key_of(of(16_384)), Ok(()));
    assert_eq!(key_of(of(16_383)), Err("value_bytes_max"));

    let of = |key_bytes_max| Parameters {
        transaction_bytes_max: 1_024,
        value_bytes_max: 1_024,
        key_bytes_max,
        ..default()
    };
    assert_eq!(key_of(of(1_024)), Ok(()));
    assert_eq!(key_of(of(1_025)), Err("key_bytes_max"));

    let of = |base_timeout_ms| Parameters { base_timeout_ms, ..default() };
    assert_eq!(key_of(of(10_000)), Ok(()));
    assert_eq!(key_of(of(10_001)), Err("base_timeout_ms"));

    let of = |batch_delay_ms| Parameters { batch_delay_ms, ..default() };
    assert_eq!(key_of(of(250)), Ok(()));
    assert_eq!(key_of(of(251)), Err("batch_delay_ms"));

    let of = |inclusion_timeout_ms| Parameters { inclusion_timeout_ms, ..default() };
    assert_eq!(key_of(of(60_000)), Ok(()));
    assert_eq!(key_of(of(60_001)), Err("inclusion_timeout_ms"));
}

#[test]
fn json_takes_defaults_for_what_is_missing_and_nothing_unknown() {
    let parsed: Parameters = serde_json::from_str(r#"{"window": 4, "fee_base": "7"}"#).expect("two of them");
    assert_eq!(parsed, Parameters { window: 4, fee_base: 7, ..Parameters::default() });
    assert!(serde_json::from_str::<Parameters>(r#"{"windows": 4}"#).is_err());
    assert!(serde_json::from_str::<Parameters>(r#"{"fee_base": 7}"#).is_err(), "amounts are strings");
}

proptest! {
    #[test]
    fn random_bytes_are_no_parameters_or_exactly_one(bytes in vec(any::<u8>(), 100..180)) {
        check_bytes::<Parameters>(&bytes);
    }
}

#[test]
fn parameters_survive_their_encoding_and_nothing_else_does() {
    check_decoder(&Parameters::default());
}
