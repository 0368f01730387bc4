//! Attention in half precision on the matrix units of a GPU, with burn's flash attention kernel.

use super::layout::tensor;
use burn::tensor::{DType, Tensor};
use burn_cubecl::kernel::attention::{AttentionStrategy, attention};
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubek_attention::routines::blackbox_accelerated::BlackboxAcceleratedStrategy;

/// Planes per cube. A plane computes the rows of a tile, usually 16, so a cube computes 64 queries.
const PLANES: u8 = 4;
/// The number of queries is padded to a multiple of this. burn's kernel requires a multiple of the
/// queries of a cube. It accepts any number of keys.
const QUERY_MULTIPLE: usize = 128;
/// The channels per head have to be a multiple of the size of a tile.
const TILE: usize = 16;
/// Largest number of channels per head. A head has to fit the shared memory of a GPU.
const MAX_SIZE: usize = 128;

/// Computes [`Backend::multi_head_attention`](crate::Backend::multi_head_attention). Returns `None`
/// if the device has no matrix units or the precision is not f16 or bf16. burn's kernel multiplies
/// in f16 for any precision of its inputs, and accumulates in f32.
pub(super) fn burn_attention<R, F, I, T>(
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
    if !(half && size.is_multiple_of(TILE) && size <= MAX_SIZE) {
        return None;
    }
    let padding = queries.next_multiple_of(QUERY_MULTIPLE) - queries;
    let padded = match padding {
        0 => query.clone(),
        _ => {
            let zeros = Tensor::zeros([n, padding, channels], (&query.device(), query.dtype()));
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
            tracing::debug!(
                ?error,
                "burn's flash attention does not support this device"
            )
        })
        .ok()?;
    tracing::debug!(queries, heads, "burn's flash attention");
    let output = tensor::<_, F, I, T, 4>(output).swap_dims(1, 2);
    Some(
        output
            .reshape([n, queries + padding, channels])
            .narrow(1, 0, queries),
    )
}

/// Returns an upper bound on the memory in addition to inputs and output, in bytes, for queries of
/// this number of `values`: the padded queries, their output, and the output in the order of the
/// inputs. It is included for f32 as well, where this kernel does not run, because the precision of
/// a model does not follow from that of the backend.
pub(super) fn workspace(values: usize) -> u64 {
    3 * values as u64 * size_of::<half::f16>() as u64
}
