//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes as a proof, as signatures and their signers; any text as hex or JSON.
//!
//! Text has more than one spelling. What reads a text must then write one that reads the same.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    Batch, Hash, MerkleProof, MultiSignature, PublicKey, SecretKey, Signature, Signers,
    codec::{bounded_list, decode, encode},
    from_hex, merkle, to_hex, verify,
};

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// What is in JSON as hex.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sheet {
    #[serde(with = "crate::hex_bytes")]
    value: Vec<u8>,
    hash: Hash,
}

/// What `bytes` say in JSON, if they do; written again it must read the same.
fn from_json<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&value).expect("what was read is written");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("what is written is read"), value);
    Some(value)
}

/// The hex of bytes is one text, but for capitals among its digits.
#[test]
fn hex() {
    let sheet = Sheet { value: vec![0xab; 9], hash: Hash::of(b"hash") };
    let samples = [
        to_hex(&[0xab, 0xcd]).into_bytes(),
        Hash::of(b"hash").to_string().into_bytes(),
        serde_json::to_vec(&sheet).expect("plain"),
    ];
    let spelled = |bytes: &[u8], read: &dyn Fn(&str) -> Option<String>| {
        let text = std::str::from_utf8(bytes).ok()?;
        let written = read(text)?;
        Some(if text.eq_ignore_ascii_case(&written) { bytes.to_vec() } else { written.into_bytes() })
    };
    bolero::check!(name = "hex").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            spelled(bytes, &|text| Some(to_hex(&from_hex(text).ok()?)))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            spelled(bytes, &|text| Some(text.parse::<Hash>().ok()?.to_string()))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            spelled(bytes, &|text| Some(text.parse::<Signature>().ok()?.to_string()))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| from_json::<Sheet>(bytes).map(|_| bytes.to_vec()));
    });
}

/// A path proves that a leaf is in a tree only if it is the path there.
#[test]
fn merkle_proof() {
    let leaves: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"e", b"f"];
    let root = merkle::root(&leaves);
    let proofs: Vec<MerkleProof> =
        (0..leaves.len()).filter_map(|index| merkle::prove(&leaves, index)).collect();
    let mut samples: Vec<Vec<u8>> = proofs.iter().map(encode).collect();
    samples.extend(proofs.iter().map(|proof| serde_json::to_vec(proof).expect("plain")));
    let judged = |proof: &MerkleProof| {
        assert!(proof.path.len() <= merkle::PATH_MAX, "no path is longer");
        for (leaf, honest) in leaves.iter().zip(&proofs) {
            assert!(
                !proof.verify(leaf, &root) || proof.path == honest.path,
                "another path leads to the root"
            );
        }
    };
    bolero::check!(name = "merkle_proof").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let proof = decode::<MerkleProof>(bytes).ok()?;
            judged(&proof);
            Some(encode(&proof))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            judged(&from_json(bytes)?);
            Some(bytes.to_vec())
        });
    });
}

/// Whoever signs together is counted once, and what they signed holds for nothing else.
#[test]
fn certificate() {
    let keys: Vec<PublicKey> = (0..4).map(|number| key(number).public()).collect();
    let votes = (0..3).map(|at| (usize::from(at), key(at).sign_bytes(b"message")));
    let signed = MultiSignature::from_votes(4, votes);
    let samples = [encode(&signed), serde_json::to_vec(&signed).expect("plain"), encode(signed.signers())];
    let judged = |claimed: &MultiSignature| {
        let signers: Vec<usize> = claimed.signers().iter().collect();
        assert_eq!(signers.len(), claimed.signatures().len(), "one signature for each signer");
        assert!(signers.iter().all(|signer| *signer < claimed.signers().size()), "signers are validators");
        let holds = claimed.verify(&keys, 3, b"message").is_ok();
        assert!(!holds || *claimed == signed, "nothing else was signed");
    };
    bolero::check!(name = "certificate").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let claimed = decode::<MultiSignature>(bytes).ok()?;
            judged(&claimed);
            Some(encode(&claimed))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| Some(encode(&decode::<Signers>(bytes).ok()?)));
        quorate_fuzz::decoder(input, &samples, |bytes| {
            judged(&from_json(bytes)?);
            Some(bytes.to_vec())
        });
    });
}

/// Whether a signature holds is one answer, alone and among others, whatever key and signature are; and nobody else's is
/// taken for that of a key that can be owned.
#[test]
fn signature() {
    let ours = key(1);
    let message = b"message".to_vec();
    let honest = ours.sign_bytes(&message);
    // The neutral element, under which everything is signed, and a key that is not reduced.
    let neutral: Vec<u8> = std::iter::once(1).chain([0; 31]).collect();
    let unreduced: Vec<u8> = std::iter::once(0xee).chain([0xff; 30]).chain([0x7f]).collect();
    let pair = |key: &[u8], signature: &[u8]| [key, signature].concat();
    let samples = [
        pair(ours.public().as_ref(), honest.as_ref()),
        pair(&neutral, &pair(&neutral, &[0; 32])),
        pair(&unreduced, &pair(&unreduced, &[0; 32])),
    ];
    bolero::check!(name = "signature").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let (key, signature) = decode::<(PublicKey, Signature)>(bytes).ok()?;
            let alone = verify(&key, &message, &signature);
            let mut batch = Batch::default();
            batch.push(ours.public(), message.clone(), honest);
            batch.push(key, message.clone(), signature);
            assert_eq!(batch.verify(), [true, alone], "one answer");
            assert!(
                !alone || key.check() != Err(crate::KeyError::NotAPoint),
                "there is nothing to verify with"
            );
            assert!(!alone || key != ours.public() || signature == honest, "nothing else was signed");
            Some(encode(&(key, signature)))
        });
    });
}

/// A list of a length that is only claimed.
#[derive(BorshSerialize, BorshDeserialize)]
struct List(#[borsh(deserialize_with = "three_at_most")] Vec<(u16, Option<u8>)>);

fn three_at_most<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Vec<(u16, Option<u8>)>> {
    bounded_list(reader, 3, "pairs", BorshDeserialize::deserialize_reader)
}

#[test]
fn codec() {
    let samples = [encode(&List(vec![(1, None), (2, Some(3))])), encode(&vec![1u16, 2, 9])];
    bolero::check!(name = "codec").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let list = decode::<List>(bytes).ok()?;
            assert!(list.0.len() <= 3, "no list is longer than its bound");
            Some(encode(&list))
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            Some(encode(&decode::<std::collections::BTreeSet<u16>>(bytes).ok()?))
        });
    });
}
