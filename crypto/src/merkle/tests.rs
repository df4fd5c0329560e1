//! Vectors of Certificate Transparency's reference implementation, and every proof of every tree up to 33
//! leaves against the recursive definition.

use super::*;
use crate::codec::{decode, encode};

/// The inputs of the reference implementation's tests (`google/certificate-transparency`, `merkletree`).
const INPUTS: [&str; 8] = [
    "0x",
    "0x00",
    "0x10",
    "0x2021",
    "0x3031",
    "0x40414243",
    "0x5051525354555657",
    "0x606162636465666768696a6b6c6d6e6f",
];

/// The roots over the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "0xfac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "0xaeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "0xd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "0x4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "0x76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "0xddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "0x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// Index, size, path.
const PATHS: [(usize, usize, &[&str]); 5] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "0x96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "0x5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "0x6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "0xbc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "0xca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "0xd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["0xfac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "0x5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "0xbc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hash(text: &str) -> Hash {
    text.parse().expect("vectors are hashes in hex")
}

fn inputs() -> Vec<Vec<u8>> {
    INPUTS.iter().map(|text| crate::from_hex(text).expect("vectors are in hex")).collect()
}

fn numbered(size: usize) -> Vec<Vec<u8>> {
    (0..size).map(|number| number.to_le_bytes().to_vec()).collect()
}

/// RFC 6962 §2.1: "The hash of an empty list is the hash of an empty string […] For n > 1, let k be the
/// largest power of two smaller than n […] MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n]))".
fn by_definition(leaves: &[Vec<u8>]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [leaf] => Hash::of(&[&[0][..], leaf].concat()),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Hash::of(&[&[1][..], by_definition(left).as_ref(), by_definition(right).as_ref()].concat())
        }
    }
}

/// RFC 6962 §2.1.1: "PATH(m, D[n]) = PATH(m, D[0:k]) : MTH(D[k:n]) for m < k; and PATH(m, D[n]) =
/// PATH(m - k, D[k:n]) : MTH(D[0:k]) for m >= k".
fn path_by_definition(leaves: &[Vec<u8>], index: usize) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) = if index < k {
        (path_by_definition(left, index), by_definition(right))
    } else {
        (path_by_definition(right, index - k), by_definition(left))
    };
    path.push(sibling);
    path
}

#[test]
fn the_empty_tree_is_the_hash_of_nothing() {
    assert_eq!(
        root::<&[u8]>(&[]),
        hash("0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    assert_eq!(prove::<&[u8]>(&[], 0), None);
}

#[test]
fn reference_roots() {
    let inputs = inputs();
    for (size, expected) in (1..).zip(ROOTS) {
        assert_eq!(root(&inputs[..size]), hash(expected), "{size} leaves");
    }
}

#[test]
fn reference_paths() {
    let inputs = inputs();
    for (index, size, path) in PATHS {
        let expected = path.iter().map(|text| hash(text)).collect();
        let proof = prove(&inputs[..size], index).expect("the leaf is there");
        assert_eq!(proof, MerkleProof { index: index as u64, size: size as u64, path: expected });
        assert!(proof.verify(&inputs[index], &hash(ROOTS[size - 1])));
    }
}

#[test]
fn every_tree_to_33_leaves_is_as_defined_and_every_proof_verifies() {
    for size in 0..=33 {
        let leaves = numbered(size);
        let expected = by_definition(&leaves);
        assert_eq!(root(&leaves), expected, "{size} leaves");
        assert_eq!(prove(&leaves, size), None, "one past the last of {size}");
        for (index, leaf) in leaves.iter().enumerate() {
            let proof = prove(&leaves, index).expect("the leaf is there");
            assert_eq!(proof.path, path_by_definition(&leaves, index), "leaf {index} of {size}");
            assert!(proof.verify(leaf, &expected), "leaf {index} of {size}");
        }
    }
}

#[test]
fn no_proof_verifies_for_what_it_does_not_prove() {
    for size in 1..=33 {
        let leaves = numbered(size);
        let root = root(&leaves);
        for index in 0..size {
            let proof = prove(&leaves, index).expect("the leaf is there");
            assert!(!proof.verify(b"another leaf", &root));
            assert!(!proof.verify(&leaves[index], &Hash::ZERO));
            for other in (0..size).filter(|other| *other != index) {
                assert!(!proof.verify(&leaves[other], &root), "leaf {other} for {index} of {size}");
                let moved = MerkleProof { index: other as u64, ..proof.clone() };
                assert!(!moved.verify(&leaves[index], &root), "leaf {index} at {other} of {size}");
            }
            for level in 0..proof.path.len() {
                let mut wrong = proof.clone();
                wrong.path[level] = Hash::ZERO;
                assert!(!wrong.verify(&leaves[index], &root));
            }
            let mut short = proof.clone();
            if short.path.pop().is_some() {
                assert!(!short.verify(&leaves[index], &root));
            }
            let mut long = proof.clone();
            long.path.push(Hash::ZERO);
            assert!(!long.verify(&leaves[index], &root));
        }
    }
}

#[test]
fn places_outside_the_tree_prove_nothing() {
    let leaf = b"leaf";
    let root = root(&[leaf]);
    assert!(MerkleProof { index: 0, size: 1, path: Vec::new() }.verify(leaf, &root));
    assert!(!MerkleProof { index: 1, size: 1, path: Vec::new() }.verify(leaf, &root));
    assert!(!MerkleProof { index: 0, size: 0, path: Vec::new() }.verify(leaf, &root));
    for (index, size) in [(u64::MAX, u64::MAX), (u64::MAX - 1, u64::MAX), (0, u64::MAX), (1 << 63, u64::MAX)]
    {
        for length in 0..=65 {
            assert!(!MerkleProof { index, size, path: vec![Hash::ZERO; length] }.verify(leaf, &root));
        }
    }
}

/// CVE-2012-2459: a tree that repeats its last node to fill up has the same root for both lists.
#[test]
fn a_list_with_its_last_leaf_repeated_has_another_root() {
    for size in 1..=33 {
        let mut leaves = numbered(size);
        let before = root(&leaves);
        leaves.push(leaves[size - 1].clone());
        assert_ne!(root(&leaves), before, "{size} leaves");
    }
}

/// RFC 6962 §2.1: "the hash calculations for leaves and nodes differ. This domain separation is required to
/// give second preimage resistance."
#[test]
fn a_node_does_not_pass_for_a_leaf() {
    let leaves = numbered(2);
    let inner = [leaf_hash(&leaves[0]).as_ref(), leaf_hash(&leaves[1]).as_ref()].concat();
    assert_ne!(root(&[inner]), root(&leaves));
}

#[test]
fn proofs_read_back_from_bytes_and_json() {
    let proof = prove(&numbered(7), 3).expect("the leaf is there");
    assert_eq!(decode(&encode(&proof)), Ok(proof.clone()));
    let json = serde_json::to_string(&proof).expect("it serializes");
    assert_eq!(serde_json::from_str::<MerkleProof>(&json).expect("what was written reads back"), proof);
    assert!(serde_json::from_str::<MerkleProof>(&json.replacen('{', r#"{"more":1,"#, 1)).is_err());
}

#[test]
fn a_path_is_read_up_to_its_bound_and_no_longer() {
    let proof = |length| MerkleProof { index: 0, size: 1, path: vec![Hash::ZERO; length] };
    let (at, past) = (proof(PATH_MAX), proof(PATH_MAX + 1));
    assert_eq!(decode::<MerkleProof>(&encode(&at)), Ok(at.clone()));
    assert!(decode::<MerkleProof>(&encode(&past)).is_err());
    let json = |proof| serde_json::to_string(proof).expect("plain");
    assert_eq!(serde_json::from_str::<MerkleProof>(&json(&at)).expect("at the bound"), at);
    assert!(serde_json::from_str::<MerkleProof>(&json(&past)).is_err());
}
