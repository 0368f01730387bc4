//! Tests of the flash attention kernel against the default body.

use super::super::layout::{tensor, values};
use super::super::test_support::{Gpu, assert_agree, cast, precisions, random};
use super::*;
use crate::backend::Backend;
use crate::backend::plain;
use burn::tensor::{DType, Tensor};

fn inputs([n, queries, channels]: [usize; 3], [contexts, keys]: [usize; 2]) -> [Tensor<Gpu, 3>; 3] {
    let key = || [contexts, keys, channels];
    [
        random([n, queries, channels], 1) * 4.0,
        random(key(), 2) * 4.0,
        random(key(), 3),
    ]
}

#[test]
fn agrees_with_the_default_body() {
    for (query, key, heads) in [
        ([1, 1, 1], [1, 1], 1),
        ([2, 70, 12], [2, 65], 2),
        ([1, 64, 96], [1, 64], 3),
        ([2, 130, 128], [1, 77], 2),
        ([1, 40, 80], [1, 100], 1),
    ] {
        let inputs = inputs(query, key);
        for dtype in precisions() {
            let rounded = inputs.each_ref().map(|x| cast(x, dtype));
            let [query, key, value] = rounded.each_ref().map(|x| cast(x, DType::F32));
            let expected = plain::multi_head_attention(query, key, value, heads);
            let [query, key, value] = rounded;
            let found = Gpu::multi_head_attention(query, key, value, heads);
            assert_eq!(found.dtype(), dtype);
            assert_agree(found, expected, dtype);
        }
    }
}

#[test]
fn several_launches_give_the_result_of_one() {
    let inputs = inputs([2, 200, 16], [2, 30]);
    let [query, key, value] = inputs.clone();
    let expected = Gpu::multi_head_attention(query, key, value, 2);
    let [query, key, value] = inputs.map(values);
    let found = tensor(flash_attention_within(query, key, value, 2, 1));
    assert_agree(found, expected, DType::F32);
}

/// The last of many blocks has scores far above those of the others.
#[test]
fn high_scores_in_the_last_block_count() {
    let [query, key, value] = inputs([1, 3, 8], [1, 300]);
    let factors: Vec<f32> = (0..300)
        .map(|i| if i == 299 { 40.0 } else { 1.0 })
        .collect();
    let factors = Tensor::<Gpu, 1>::from_floats(factors.as_slice(), &Default::default());
    let key = key * factors.reshape([1, 300, 1]);
    let [query, key] = [query, key].map(|x| x * 4.0);
    let expected = plain::multi_head_attention(query.clone(), key.clone(), value.clone(), 1);
    let found = Gpu::multi_head_attention(query, key, value, 1);
    assert_agree(found, expected, DType::F32);
}
