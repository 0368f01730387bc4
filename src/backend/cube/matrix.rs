//! Attention on the matrix units of a GPU, for half precisions: burn's own flash kernel.

use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::attention::{AttentionStrategy, attention};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubek_attention::routines::blackbox_accelerated::BlackboxAcceleratedStrategy;

/// Planes of a cube, each with the rows of one tile, 16 as a rule: 64 queries.
const PLANES: u8 = 4;
/// burn's kernel refuses a number of queries that its cube does not divide. Keys it takes as they come.
const QUERIES: usize = 128;
/// Its tiles divide the heads' size, and all of a head is in a GPU's shared memory.
const TILE: usize = 16;
const WIDEST: usize = 128;

/// As [`Backend::multi_head_attention`](crate::Backend::multi_head_attention), where the device has the units for it and
/// the precision is a half one: burn's kernel multiplies in f16 whatever it is given, and adds in f32.
pub(super) fn flash<R, F, I, T>(
    query: &Tensor<CubeBackend<R, F, I, T>, 3>,
    key: &Tensor<CubeBackend<R, F, I, T>, 3>,
    value: &Tensor<CubeBackend<R, F, I, T>, 3>,
    heads: usize,
) -> Option<Tensor<CubeBackend<R, F, I, T>, 3>>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    T: BoolElement,
{
    let [n, queries, channels] = query.dims();
    let size = channels / heads;
    let half = matches!(query.dtype(), DType::F16 | DType::BF16);
    if !(half && size.is_multiple_of(TILE) && size <= WIDEST) {
        return None;
    }
    let more = queries.next_multiple_of(QUERIES) - queries;
    let padded = match more {
        0 => query.clone(),
        _ => {
            let zeros = Tensor::zeros([n, more, channels], (&query.device(), query.dtype()));
            Tensor::cat(vec![query.clone(), zeros], 1)
        }
    };
    // [N, heads, T, size]
    let split = |x: Tensor<_, 3>| {
        let tokens = x.dims()[1];
        let x = x.expand([n, tokens, channels]);
        let x = x.reshape([n, tokens, heads, size]).swap_dims(1, 2);
        x.into_primitive().tensor()
    };
    let strategy = AttentionStrategy::FlashBlackboxAccelerated(BlackboxAcceleratedStrategy {
        num_planes: PLANES,
        seq_q: 1,
        seq_kv: 1,
    });
    let [padded, key, value] = [padded, key.clone(), value.clone()].map(split);
    let output = attention(padded, key, value, None, None, Default::default(), strategy)
        .inspect_err(|error| {
            tracing::debug!(?error, "burn's flash attention is not for this device")
        })
        .ok()?;
    tracing::debug!(queries, heads, "burn's flash attention");
    let output = super::tensor::<_, F, I, T, 4>(output).swap_dims(1, 2);
    Some(
        output
            .reshape([n, queries + more, channels])
            .narrow(1, 0, queries),
    )
}

/// Most bytes held beside inputs and output, with queries of `values`: these padded, the output for them, and that in the
/// order of the inputs. A model's precision is not known from the backend's, so in f32, too, where it does not run.
pub(super) fn workspace(values: usize) -> u64 {
    3 * values as u64 * size_of::<half::f16>() as u64
}
