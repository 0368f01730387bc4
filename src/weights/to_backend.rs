//! Transfers weights to another backend.

use super::{Weights, float_type, parameters};
use crate::backend::Backend;
use crate::error::Result;
use crate::unet::UNetConfig;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

impl<B: Backend> Weights<B> {
    /// Copies the weights to another backend, in its precision. `config` is the config of the UNet.
    ///
    /// # Errors
    ///
    /// The errors of [`UNetConfig::init`].
    pub(crate) fn to_backend<C: Backend>(
        &self,
        config: &UNetConfig,
        device: &C::Device,
    ) -> Result<Weights<C>> {
        let dtype = float_type::<C>();
        let values = parameters::values(&self.unet).into_iter().map(|parameter| {
            let data = parameter.to_data().expect("the values are in memory");
            (parameters::key(&parameter), data.convert_dtype(dtype))
        });
        let values: BTreeMap<String, TensorData> = values.collect();
        let prompt = |tensor: &Tensor<B, 2>| {
            let data = tensor.to_data().convert_dtype(dtype);
            Tensor::from_data(data, (device, dtype))
        };
        Ok(Weights {
            unet: parameters::fill(config.init(device)?, device, move |key| {
                Ok(values[key].clone())
            })?,
            positive: prompt(&self.positive),
            negative: prompt(&self.negative),
        })
    }
}
