//! Training with the feature `collective`: one thread for each device, each a peer of burn's
//! collective.

use super::rank::Replica;
use crate::error::{Error, Result};
use burn::collective::{
    CollectiveConfig, CollectiveError, PeerId, ReduceOperation, all_reduce, broadcast,
    finish_collective, register, reset_collective,
};
use burn::module::{AutodiffModule, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorPrimitive};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::{mem, thread};

/// Held during a training run on several devices, since burn has one collective for each backend of
/// a process.
static COLLECTIVE_LOCK: Mutex<()> = Mutex::new(());

/// Runs `leader` on this thread for the first device, and `follower` on a thread of its own for
/// each other device. If one of them fails, all stop.
///
/// # Errors
///
/// The error of the replica that failed first; the errors of replicas that stopped because of it
/// are dropped. [`Error::Config`] if there are no devices.
pub(crate) fn run_replicas<B: AutodiffBackend, T>(
    devices: &[B::Device],
    leader: impl FnOnce(Replica, &B::Device) -> Result<T>,
    follower: impl Fn(Replica, &B::Device) -> Result<()> + Sync,
) -> Result<T> {
    let replica = |rank| Replica {
        rank,
        world_size: devices.len(),
    };
    let (leader_device, follower_devices) = match devices {
        [] => {
            let (field, reason) = ("devices", "there must be at least one".to_owned());
            return Err(Error::Config { field, reason });
        }
        [device] => return leader(Replica::SINGLE, device),
        [first, others @ ..] => (first, others),
    };
    let _lock = COLLECTIVE_LOCK
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let follower = &follower;
        let threads = (1..).zip(follower_devices).map(|(rank, device)| {
            let work = move || follower(replica(rank), device);
            scope.spawn(move || replica(rank).run_as_peer::<B::InnerBackend, _>(device, work))
        });
        let threads: Vec<_> = threads.collect();
        let work = || leader(replica(0), leader_device);
        let led = replica(0).run_as_peer::<B::InnerBackend, _>(leader_device, work);
        let followed = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| resume_unwind(panic))
        });
        let errors: Vec<_> = followed.filter_map(Result::err).collect();
        // The loss of a peer is a consequence of another replica's failure, never the cause.
        let is_cause = |error: &Error| !matches!(error, Error::Collective { .. });
        match (led, errors.into_iter().find(is_cause)) {
            (Err(error), _) if is_cause(&error) => Err(error),
            (_, Some(error)) => Err(error),
            (led, None) => led,
        }
    })
}

impl Replica {
    fn peer(self) -> PeerId {
        self.rank.into()
    }

    /// Runs `work` as a peer of the collective.
    fn run_as_peer<B: Backend, T>(
        self,
        device: &B::Device,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let config = CollectiveConfig::default().with_num_devices(self.world_size);
        register::<B>(self.peer(), device.clone(), config).map_err(failed)?;
        let reset = ResetCollective::<B>(PhantomData);
        let done = work()?;
        mem::forget(reset);
        finish_collective::<B>(self.peer()).map_err(failed)?;
        Ok(done)
    }

    /// Sums the replicas' `gradients` of their `model`.
    ///
    /// A replica can lack the gradient of a parameter, for example of a prompt that its batches do
    /// not use. Such a gradient counts as zero. If no replica has a gradient of a parameter, the
    /// sum has none either, and the optimiser leaves the parameter unchanged. The exchange follows
    /// the module's order of parameters. burn's [`GradientsParams::all_reduce`] follows the order
    /// of parameter ids, which differ from replica to replica.
    pub(crate) fn all_reduce_gradients<B, M>(
        self,
        model: &M,
        gradients: GradientsParams,
    ) -> Result<GradientsParams>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        if self.world_size == 1 {
            return Ok(gradients);
        }
        let mut present = GradientFlags {
            gradients: &gradients,
            flags: Vec::new(),
        };
        model.visit(&mut present);
        let flags = present.flags;
        let device = &model.devices()[0];
        let counts = Tensor::<B::InnerBackend, 1>::from_floats(flags.as_slice(), device);
        let counts = self.all_reduce(counts)?.into_data().convert::<f32>();
        let counts = counts.into_vec().expect("converted to f32");
        let mut sum = AllReduceGradients {
            replica: self,
            counts: VecDeque::from(counts),
            gradients,
            error: None,
        };
        model.visit(&mut sum);
        match sum.error {
            Some(error) => Err(error),
            None => Ok(sum.gradients),
        }
    }

    /// Returns `model` with the leader's weights.
    pub(crate) fn broadcast_from_leader<B, M>(self, model: M) -> Result<M>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        if self.world_size == 1 {
            return Ok(model);
        }
        let mut copy = BroadcastWeights {
            replica: self,
            error: None,
        };
        let model = model.map(&mut copy);
        match copy.error {
            Some(error) => Err(error),
            None => Ok(model),
        }
    }

    /// Sums the replicas' `tensor`.
    fn all_reduce<B: Backend, const D: usize>(self, tensor: Tensor<B, D>) -> Result<Tensor<B, D>> {
        let tensor = tensor.into_primitive().tensor();
        let sum = all_reduce::<B>(self.peer(), tensor, ReduceOperation::Sum).map_err(failed)?;
        Ok(Tensor::from_primitive(TensorPrimitive::Float(sum)))
    }

    /// Returns the leader's `tensor`.
    fn broadcast<B: Backend, const D: usize>(self, tensor: Tensor<B, D>) -> Result<Tensor<B, D>> {
        let sent = self.is_leader().then(|| tensor.into_primitive().tensor());
        let received = broadcast::<B>(self.peer(), sent).map_err(failed)?;
        Ok(Tensor::from_primitive(TensorPrimitive::Float(received)))
    }
}

/// Resets the collective when it is dropped. A replica that fails drops it, so that the others do
/// not wait.
struct ResetCollective<B: Backend>(PhantomData<B>);

impl<B: Backend> Drop for ResetCollective<B> {
    fn drop(&mut self) {
        reset_collective::<B>();
    }
}

fn failed(error: CollectiveError) -> Error {
    Error::Collective {
        reason: format!("{error:?}"),
    }
}

/// Collects a flag for each parameter: 1.0 if it has a gradient, 0.0 if not.
struct GradientFlags<'a> {
    gradients: &'a GradientsParams,
    flags: Vec<f32>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientFlags<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = self.gradients.get::<B::InnerBackend, D>(param.id);
        self.flags.push(f32::from(gradient.is_some()));
    }
}

/// Sums the gradients of each parameter over the replicas.
struct AllReduceGradients {
    replica: Replica,
    /// Number of replicas with a gradient, for each parameter that has not been visited yet.
    counts: VecDeque<f32>,
    gradients: GradientsParams,
    error: Option<Error>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for AllReduceGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let count = self.counts.pop_front();
        if self.error.is_some() || count == Some(0.0) {
            return;
        }
        let own = self.gradients.remove::<B::InnerBackend, D>(param.id);
        let own = own.unwrap_or_else(|| param.val().inner().zeros_like());
        match self.replica.all_reduce(own) {
            Ok(sum) => self.gradients.register(param.id, sum),
            Err(error) => self.error = Some(error),
        }
    }
}

/// Replaces each parameter with the leader's.
struct BroadcastWeights {
    replica: Replica,
    error: Option<Error>,
}

impl<B: AutodiffBackend> ModuleMapper<B> for BroadcastWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.error.is_some() {
            return param;
        }
        param.map(|own| {
            let trained = own.is_require_grad();
            match self.replica.broadcast(own.clone().inner()) {
                Ok(leaders) => Tensor::from_inner(leaders).set_require_grad(trained),
                Err(error) => {
                    self.error = Some(error);
                    own
                }
            }
        })
    }
}
