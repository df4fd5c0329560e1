//! Approvals: what can be said of them without the state, and what they cost. And what a sender must have.

use super::*;
use crate::fixtures::validators;
use crate::validators::VALIDATORS_MAX;

fn of_keys(keys: Vec<PublicKey>) -> ProposedChange {
    ProposedChange::Validators(
        keys.into_iter().map(|key| ProposedValidator { key, readiness: None }).collect(),
    )
}

fn keys(numbers: impl IntoIterator<Item = u16>) -> Vec<PublicKey> {
    numbers.into_iter().map(|number| key(number).public()).collect()
}

fn of_parameters(parameters: Parameters) -> ProposedChange {
    ProposedChange::Parameters(Box::new(parameters))
}

fn check(change: ProposedChange) -> Result<(), TransactionError> {
    let transaction = operation(Operation::Approve { change });
    let rules = rules(Parameters::default());
    let answer = transaction.check(&rules);
    assert_eq!(transaction.check(&rules), answer, "asked once or twice");
    answer
}

/// Made by hand from the words of `docs/formats.md`.
#[test]
fn an_approval_is_encoded_as_the_format_says() {
    let readiness =
        Readiness { checkpoint: Hash::from_bytes([5; 32]), signature: Signature::from_bytes([6; 64]) };
    let change = ProposedChange::Validators(vec![
        ProposedValidator { key: PublicKey::from_bytes([4; 32]), readiness: Some(readiness) },
        ProposedValidator { key: PublicKey::from_bytes([3; 32]), readiness: None },
    ]);
    let expected = [&[9, 0, 2, 0, 0, 0][..], &[4; 32], &[1], &[5; 32], &[6; 64], &[3; 32], &[0]].concat();
    let approve = Operation::Approve { change };
    assert_eq!(encode(&approve), expected);
    check_decoder(&approve);
    let parameters = Operation::Approve { change: of_parameters(Parameters::default()) };
    assert_eq!(encode(&parameters), [vec![9, 1], encode(&Parameters::default())].concat());
    check_decoder(&parameters);
}

#[test]
fn json_shows_the_change_by_its_kind() {
    let readiness = Readiness::sign(&chain(), crate::Epoch(3), Hash::of(b"checkpoint"), &key(5));
    let change = ProposedChange::Validators(vec![
        ProposedValidator { key: key(5).public(), readiness: Some(readiness) },
        ProposedValidator { key: key(1).public(), readiness: None },
    ]);
    let approve = Operation::Approve { change };
    let json = serde_json::to_value(&approve).expect("json");
    let statement = serde_json::json!({"checkpoint": readiness.checkpoint, "signature": readiness.signature});
    let expected = serde_json::json!({"type": "approve", "change": {"validators": [
        {"key": key(5).public(), "readiness": statement},
        {"key": key(1).public(), "readiness": null},
    ]}});
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<Operation>(json.clone()).expect("own json"), approve);
    let parameters = Operation::Approve { change: of_parameters(Parameters::default()) };
    let shown = serde_json::to_value(&parameters).expect("json");
    assert_eq!(shown["change"]["parameters"]["window"], 8);
    assert_eq!(serde_json::from_value::<Operation>(shown).expect("own json"), parameters);
    for place in ["", "/change", "/change/validators/0", "/change/validators/0/readiness"] {
        let mut unknown = json.clone();
        unknown.pointer_mut(place).expect("there")["extra"] = true.into();
        assert!(serde_json::from_value::<Operation>(unknown).is_err(), "{place}");
    }
}

#[test]
fn a_set_has_one_to_validators_max_different_usable_keys_in_any_order() {
    let most = u16::try_from(VALIDATORS_MAX).expect("a few hundred");
    let many = |count: u16| (0..count).map(|number| key(number).public()).collect::<Vec<_>>();
    let roomy = |change: ProposedChange| {
        let parameters = Parameters { transaction_bytes_max: 1 << 20, ..Parameters::default() };
        operation(Operation::Approve { change }).check(&rules(parameters))
    };
    let bad = |source| Err(TransactionError::BadValidators { operation: 0, source });
    assert_eq!(check(of_keys(keys([3, 1, 2]))), Ok(()));
    assert_eq!(check(of_keys(Vec::new())), bad(ValidatorSetError::Empty));
    assert_eq!(roomy(of_keys(many(most))), Ok(()));
    let count = VALIDATORS_MAX + 1;
    assert_eq!(roomy(of_keys(many(most + 1))), bad(ValidatorSetError::TooMany { count }));
    let key = key(1).public();
    assert_eq!(check(of_keys(keys([1, 2, 1]))), bad(ValidatorSetError::Duplicate { key }));
    let small_order = PublicKey::from_bytes([0; 32]);
    let mixed = [keys([1, 2]), vec![small_order]].concat();
    assert_eq!(check(of_keys(mixed)), bad(ValidatorSetError::BadKey { key: small_order }));
}

#[test]
fn no_more_than_validators_max_are_decoded() {
    let most = u16::try_from(VALIDATORS_MAX).expect("a few hundred");
    let encoded = |count| encode(&Operation::Approve { change: of_keys(keys(0..count)) });
    assert!(decode::<Operation>(&encoded(most)).is_ok());
    assert!(decode::<Operation>(&encoded(most + 1)).is_err());
}

#[test]
fn parameters_are_in_their_bounds_and_fit_each_other() {
    let of = |source| Err(TransactionError::BadParameters { operation: 0, source });
    let refused = |parameters: Parameters| {
        let source = parameters.check().expect_err("out of bounds");
        assert_eq!(check(of_parameters(parameters)), of(source));
    };
    let default = Parameters::default;
    assert_eq!(check(of_parameters(Parameters { window: 64, log_window: 128, ..default() })), Ok(()));
    refused(Parameters { window: 65, log_window: 128, ..default() });
    refused(Parameters { window: 0, ..default() });
}

#[test]
fn no_approval_changes_the_lifetime_of_transactions() {
    let lifetime = Parameters::default().transaction_lifetime_max_ms;
    for other in [lifetime - 1, lifetime + 1] {
        let parameters = Parameters { transaction_lifetime_max_ms: other, ..Parameters::default() };
        let error = check(of_parameters(parameters)).expect_err("fixed by the genesis");
        let TransactionError::BadParameters { operation: 0, source } = error else { panic!("{error}") };
        assert_eq!((source.key, source.value), ("transaction_lifetime_max_ms", u128::from(other)));
    }
}

#[test]
fn every_operation_that_approves_is_checked() {
    let good = Operation::Approve { change: of_keys(keys([1])) };
    let bad = Operation::Approve { change: of_keys(Vec::new()) };
    let transaction = signed(|payload| payload.operations = vec![good, bad]);
    let error = TransactionError::BadValidators { operation: 1, source: ValidatorSetError::Empty };
    assert_eq!(transaction.check(&rules(Parameters::default())), Err(error));
}

/// > it is *free*: the fee is 0, it is one approve and nothing else, and its sender is in the epoch's set
#[test]
fn a_validators_lone_approval_may_be_free_and_nothing_else() {
    let priced = rules(Parameters { fee_base: 10, ..Parameters::default() });
    let sent = |sender: u16, fee, operations: Vec<Operation>| {
        Transaction::sign(Payload { sender: account(sender), fee, operations, ..payload(1) }, &key(sender))
    };
    let approve = || Operation::Approve { change: of_keys(keys([1, 2])) };
    let too_low = |fee| Err(TransactionError::FeeTooLow { fee, least: 10 });
    for sender in 0..4 {
        assert!(validators().index_of(&key(sender).public()).is_some());
        let free = sent(sender, 0, vec![approve()]);
        assert_eq!((free.check(&priced), free.is_free_approval(&priced)), (Ok(()), true));
    }
    for (transaction, verdict) in [
        (sent(4, 0, vec![approve()]), too_low(0)),
        (sent(1, 0, vec![approve(), approve()]), too_low(0)),
        (sent(1, 0, vec![approve(), Operation::Transfer { to: account(2), amount: 0 }]), too_low(0)),
        (sent(1, 0, vec![Operation::Delete { key: vec![1] }]), too_low(0)),
        (sent(1, 1, vec![approve()]), too_low(1)),
        (sent(1, 9, vec![approve()]), too_low(9)),
        (sent(1, 10, vec![approve()]), Ok(())),
        (sent(4, 10, vec![approve()]), Ok(())),
    ] {
        assert_eq!(transaction.check(&priced), verdict);
        assert!(!transaction.is_free_approval(&priced));
    }
    let costless = rules(Parameters::default());
    assert!(!sent(1, 0, vec![approve()]).is_free_approval(&costless), "it pays what everybody pays");
}

#[test]
fn the_least_balance_is_the_fee_and_what_goes_to_others() {
    let least = |fee, transfers: &[(u16, Amount)]| {
        let transfer = |&(to, amount): &(u16, Amount)| Operation::Transfer { to: account(to), amount };
        signed(|payload| {
            payload.fee = fee;
            payload.operations = transfers.iter().map(transfer).collect();
            payload.operations.push(Operation::Delete { key: vec![1] });
        })
        .least_balance()
    };
    assert_eq!(least(7, &[]), Some(7));
    assert_eq!(least(7, &[(2, 5), (3, 4)]), Some(16));
    // The sender is account 1: what it sends to itself it must have, and has again.
    assert_eq!(least(7, &[(1, 50), (1, 50), (2, 5)]), Some(57));
    assert_eq!(least(7, &[(2, 5), (1, 50)]), Some(62));
    assert_eq!(least(0, &[(2, Amount::MAX)]), Some(Amount::MAX));
    assert_eq!(least(1, &[(2, Amount::MAX)]), None);
    assert_eq!(least(0, &[(2, Amount::MAX), (2, 1)]), None);
}
