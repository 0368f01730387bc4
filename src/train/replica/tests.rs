//! Tests of the exchange between replicas.

use super::{Replica, run_replicas};
use crate::backend::Flex;
use crate::error::Result;
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::sync::Mutex;

type B = Autodiff<Flex>;

/// Returns the results of `work` in each of three replicas.
fn in_three_replicas<T: Send>(work: impl Fn(Replica) -> Result<T> + Sync) -> [T; 3] {
    let results = Mutex::new([None, None, None]);
    let devices = [Default::default(); 3];
    let run = |replica: Replica, _: &_| {
        let result = work(replica)?;
        results.lock().unwrap()[replica.rank] = Some(result);
        Ok(())
    };
    run_replicas::<B, _>(&devices, run, run).unwrap();
    results.into_inner().unwrap().map(|result| result.unwrap())
}

fn linear() -> Linear<B> {
    let linear: Linear<B> = LinearConfig::new(2, 1).init(&Default::default());
    // The weights are drawn at the first use. This call draws them, so that clones have the same
    // weights.
    linear.valid();
    linear
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

/// Gradients are summed, not averaged. A missing gradient counts as zero, unless it is missing in
/// all replicas.
#[test]
fn gradients_are_summed() {
    let sums = in_three_replicas(|replica| {
        // Each replica's model has other parameter ids.
        let model = vec![linear(), linear()];
        let mut gradients = GradientsParams::new();
        let mut register = |param: &Param<Tensor<B, 2>>, by: f32| {
            let gradient = Tensor::<Flex, 2>::from_data([[1.0], [10.0]], &Default::default());
            gradients.register(param.id, gradient * by);
        };
        register(&model[0].weight, (replica.rank + 1) as f32);
        if replica.rank == 1 {
            register(&model[1].weight, 5.0);
        }
        let mut sum = replica.all_reduce_gradients::<B, _>(&model, gradients)?;
        assert_eq!(sum.len(), 2);
        let mut take = |i: usize| sum.remove::<Flex, 2>(model[i].weight.id).unwrap();
        Ok([take(0), take(1)].map(values))
    });
    for sum in sums {
        assert_eq!(sum, [[6.0, 60.0], [5.0, 50.0]]);
    }
}

/// Frozen parameters stay frozen.
#[test]
fn all_replicas_receive_the_leaders_weights() {
    let weights = in_three_replicas(|replica| {
        let own = vec![linear(), linear().no_grad()];
        let leaders = replica.broadcast_from_leader::<B, _>(own.clone())?;
        let trained = |linear: &Linear<B>| linear.weight.val().is_require_grad();
        assert!(trained(&leaders[0]) && !trained(&leaders[1]));
        let values = |linear: &Linear<B>| values(linear.weight.val().inner());
        Ok([own, leaders].map(|linears| linears.iter().map(values).collect::<Vec<_>>()))
    });
    let [leader, second, third] = weights;
    assert_ne!(leader[0], second[0]);
    for [_, received] in [&leader, &second, &third] {
        assert_eq!(*received, leader[0]);
    }
}

/// Each batch of a step belongs to one replica.
#[test]
fn the_shares_of_a_step_interleave() {
    let share = |rank| {
        let replica = Replica {
            rank,
            world_size: 3,
        };
        replica.share(6..12).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 2].map(share), [[6, 9], [7, 10], [8, 11]]);
}
