//! With the feature `collective`: a thread for each device, each a peer of burn's collective.

use super::Replica;
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

/// Held by a training on several devices: burn has one collective for each backend of a process.
static TRAINING: Mutex<()> = Mutex::new(());

/// Runs `lead` for the first device, on this thread, and `follow` for each of the others, on threads of their own. When one
/// fails, all stop.
///
/// # Errors
///
/// The first error of a replica that did not only stop because of another's, and [`Error::Config`] when there are no devices.
pub fn on_each<B: AutodiffBackend, T>(
    devices: &[B::Device],
    lead: impl FnOnce(Replica, &B::Device) -> Result<T>,
    follow: impl Fn(Replica, &B::Device) -> Result<()> + Sync,
) -> Result<T> {
    let replica = |rank| Replica {
        rank,
        world: devices.len(),
    };
    let (leading, following) = match devices {
        [] => {
            let (field, reason) = ("devices", "names none".to_owned());
            return Err(Error::Config { field, reason });
        }
        [device] => return lead(Replica::ALONE, device),
        [first, others @ ..] => (first, others),
    };
    let _training = TRAINING.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let follow = &follow;
        let threads = (1..).zip(following).map(|(rank, device)| {
            let work = move || follow(replica(rank), device);
            scope.spawn(move || replica(rank).join::<B::InnerBackend, _>(device, work))
        });
        let threads: Vec<_> = threads.collect();
        let led = replica(0).join::<B::InnerBackend, _>(leading, || lead(replica(0), leading));
        let followed = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|panic| resume_unwind(panic))
        });
        let errors: Vec<_> = followed.filter_map(Result::err).collect();
        // That another one is gone is never why the first to fail did.
        let why = |error: &Error| !matches!(error, Error::Collective { .. });
        match (led, errors.into_iter().find(why)) {
            (Err(error), _) if why(&error) => Err(error),
            (_, Some(error)) => Err(error),
            (led, None) => led,
        }
    })
}

impl Replica {
    fn peer(self) -> PeerId {
        self.rank.into()
    }

    /// Does `work` as a member of the collective.
    fn join<B: Backend, T>(
        self,
        device: &B::Device,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let config = CollectiveConfig::default().with_num_devices(self.world);
        register::<B>(self.peer(), device.clone(), config).map_err(failed)?;
        let unfinished = Unfinished::<B>(PhantomData);
        let done = work()?;
        mem::forget(unfinished);
        finish_collective::<B>(self.peer()).map_err(failed)?;
        Ok(done)
    }

    /// The sum of all replicas' `gradients` of their `model`.
    ///
    /// A parameter that some have no gradient of, as of a prompt that their batches do not use, counts as zero there; one
    /// that none has a gradient of has none in the sum either, and so is left as it is by the optimiser. They are summed up
    /// in the module's order, not in that of parameter ids as burn's [`GradientsParams::all_reduce`] does: these are drawn
    /// anew in each replica.
    pub fn sum<B, M>(self, model: &M, gradients: GradientsParams) -> Result<GradientsParams>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        if self.world == 1 {
            return Ok(gradients);
        }
        let mut present = Present {
            gradients: &gradients,
            flags: Vec::new(),
        };
        model.visit(&mut present);
        let flags = present.flags;
        let device = &model.devices()[0];
        let counts = Tensor::<B::InnerBackend, 1>::from_floats(flags.as_slice(), device);
        let counts = self.all_reduce(counts)?.into_data().convert::<f32>();
        let counts = counts.into_vec().expect("converted to f32");
        let mut sum = Sum {
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

    /// `model` with the leader's weights.
    pub fn leaders<B, M>(self, model: M) -> Result<M>
    where
        B: AutodiffBackend,
        M: AutodiffModule<B>,
    {
        if self.world == 1 {
            return Ok(model);
        }
        let mut copy = Copy {
            replica: self,
            error: None,
        };
        let model = model.map(&mut copy);
        match copy.error {
            Some(error) => Err(error),
            None => Ok(model),
        }
    }

    /// The sum of all replicas' `tensor`.
    fn all_reduce<B: Backend, const D: usize>(self, tensor: Tensor<B, D>) -> Result<Tensor<B, D>> {
        let tensor = tensor.into_primitive().tensor();
        let sum = all_reduce::<B>(self.peer(), tensor, ReduceOperation::Sum).map_err(failed)?;
        Ok(Tensor::from_primitive(TensorPrimitive::Float(sum)))
    }

    /// The leader's `tensor`.
    fn broadcast<B: Backend, const D: usize>(self, tensor: Tensor<B, D>) -> Result<Tensor<B, D>> {
        let sent = self.leads().then(|| tensor.into_primitive().tensor());
        let received = broadcast::<B>(self.peer(), sent).map_err(failed)?;
        Ok(Tensor::from_primitive(TensorPrimitive::Float(received)))
    }
}

/// Dropped by a replica that fails: it takes the collective apart, so that the others do not wait for it.
struct Unfinished<B: Backend>(PhantomData<B>);

impl<B: Backend> Drop for Unfinished<B> {
    fn drop(&mut self) {
        reset_collective::<B>();
    }
}

fn failed(error: CollectiveError) -> Error {
    Error::Collective {
        reason: format!("{error:?}"),
    }
}

/// Finds which parameters have a gradient: 1.0 for each that has, 0.0 for each that has not.
struct Present<'a> {
    gradients: &'a GradientsParams,
    flags: Vec<f32>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Present<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let gradient = self.gradients.get::<B::InnerBackend, D>(param.id);
        self.flags.push(f32::from(gradient.is_some()));
    }
}

/// Sums up gradients.
struct Sum {
    replica: Replica,
    /// Of each parameter to come, how many replicas have a gradient.
    counts: VecDeque<f32>,
    gradients: GradientsParams,
    error: Option<Error>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Sum {
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

/// Copies the leader's weights.
struct Copy {
    replica: Replica,
    error: Option<Error>,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Copy {
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
