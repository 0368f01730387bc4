//! What replicas exchange.

use super::{Replica, on_each};
use crate::backend::Flex;
use crate::error::Result;
use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::sync::Mutex;

type B = Autodiff<Flex>;

/// What `work` gives in each of three replicas.
fn in_three<T: Send>(work: impl Fn(Replica) -> Result<T> + Sync) -> [T; 3] {
    let results = Mutex::new([None, None, None]);
    let devices = [Default::default(); 3];
    let run = |replica: Replica, _: &_| {
        let result = work(replica)?;
        results.lock().unwrap()[replica.rank] = Some(result);
        Ok(())
    };
    on_each::<B, _>(&devices, run, run).unwrap();
    results.into_inner().unwrap().map(|result| result.unwrap())
}

fn linear() -> Linear<B> {
    let linear: Linear<B> = LinearConfig::new(2, 1).init(&Default::default());
    // Its weights are drawn when first used: now, so that its clones are the same.
    linear.valid();
    linear
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

/// Summed up, not averaged; where some have none, it is zero there, and where all have none, there stays none.
#[test]
fn gradients_are_summed_up() {
    let sums = in_three(|replica| {
        // Its own, with parameter ids of its own.
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
        let mut sum = replica.sum::<B, _>(&model, gradients)?;
        assert_eq!(sum.len(), 2);
        let mut take = |i: usize| sum.remove::<Flex, 2>(model[i].weight.id).unwrap();
        Ok([take(0), take(1)].map(values))
    });
    for sum in sums {
        assert_eq!(sum, [[6.0, 60.0], [5.0, 50.0]]);
    }
}

/// And what is frozen stays frozen.
#[test]
fn all_get_the_leaders_weights() {
    let weights = in_three(|replica| {
        let own = vec![linear(), linear().no_grad()];
        let leaders = replica.leaders::<B, _>(own.clone())?;
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

/// A step's batches, each once.
#[test]
fn a_share_is_every_so_many_batches() {
    let share = |rank| {
        let replica = Replica { rank, world: 3 };
        replica.share(6..12).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 2].map(share), [[6, 9], [7, 10], [8, 11]]);
}
