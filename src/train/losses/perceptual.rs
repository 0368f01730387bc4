//! The perceptual loss: the distance between a network's features of two pictures.

use super::vgg::{Vgg, VggConfig};
use crate::backend::Backend;
use crate::error::Result;
use burn::tensor::Tensor;
use std::path::Path;

/// Added to the squared length of a feature vector, so that the gradient is finite at length zero.
/// (LPIPS adds it to the length, whose gradient is NaN there.)
const EPSILON: f64 = 1e-10;

/// Perceptual loss (paper, stage 2, `L_P`): LPIPS (Zhang et al. 2018, "The Unreasonable
/// Effectiveness of Deep Features as a Perceptual Metric", equation 1) on VGG16, with all its
/// weights `w_l` one:
///
/// `sum over stages l of  mean over n, y, x of  sum over channels of ( f_l(student) - f_l(target) )^2`
///
/// where `f_l` is the output of the stage's last ReLU (`relu1_2`, `relu2_2`, `relu3_3`, `relu4_3`,
/// `relu5_3`), divided at each pixel by its length over the channels,
/// `sqrt(sum of squares + 1e-10)`. For each pixel, the sum over channels is `2 * (1 - cos)` with
/// the cosine between the two feature vectors. It is from 0 to 2, since features are not negative.
/// The authors' package computes the same with `LPIPS(net='vgg', lpips=False)`. The weights that
/// they fitted to human judgements are not applied.
#[derive(Clone, Debug)]
pub struct PerceptualLoss<B: Backend> {
    vgg: Vgg<B>,
}

impl<B: Backend> PerceptualLoss<B> {
    /// Loads VGG16 from a safetensors file with torchvision's keys and sizes
    /// (`vgg16(weights="IMAGENET1K_V1")`).
    ///
    /// # Errors
    ///
    /// The errors of [`load_with`](Self::load_with).
    pub fn load(path: impl AsRef<Path>, device: &B::Device) -> Result<Self> {
        Self::load_with(&VggConfig::vgg16(), path, device)
    }

    /// Loads a VGG with other sizes.
    ///
    /// The file must contain exactly the tensors of `config`, `features.N.weight` and
    /// `features.N.bias`, in f32, f16 or bf16. It may also contain the six tensors of torchvision's
    /// classifier (`classifier.{0,3,6}.{weight,bias}`), which are not read.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`](crate::Error::Config) if the config contradicts itself.
    /// - [`Error::Io`](crate::Error::Io) if the file cannot be read.
    /// - [`Error::Format`](crate::Error::Format) if it is not safetensors, or a tensor has an
    ///   unsupported type.
    /// - [`Error::Keys`](crate::Error::Keys) with all tensors that are missing, are not used or
    ///   have another shape.
    /// - [`Error::NonFiniteWeight`](crate::Error::NonFiniteWeight) if a weight is not finite.
    pub fn load_with(
        config: &VggConfig,
        path: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<Self> {
        let vgg = Vgg::load(config, path.as_ref(), device)?;
        Ok(Self { vgg })
    }

    /// Computes the loss.
    ///
    /// # Shapes
    ///
    /// - student, target: `[N, 3, H, W]`, RGB in -1..1
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// Panics if a side is too small for the pooling between the stages: below 16 for VGG16.
    pub fn forward(&self, student: Tensor<B, 4>, target: Tensor<B, 4>) -> Tensor<B, 1> {
        let [_, _, h, w] = student.dims();
        let smallest = self.vgg.smallest_side();
        assert!(
            h >= smallest && w >= smallest,
            "perceptual loss: {w}x{h} is below {smallest}x{smallest}"
        );
        let pairs = self.vgg.features(student).into_iter();
        pairs
            .zip(self.vgg.features(target))
            .map(|(student, target)| {
                let difference = unit(student) - unit(target);
                (difference.clone() * difference).sum_dim(1).mean()
            })
            .reduce(|sum, term| sum + term)
            .expect("a VGG has a stage")
    }
}

/// Divides each pixel's feature vector by its length.
fn unit<B: Backend>(features: Tensor<B, 4>) -> Tensor<B, 4> {
    let length = (features.clone() * features.clone()).sum_dim(1) + EPSILON;
    features / length.sqrt()
}

#[cfg(all(test, feature = "ndarray"))]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::testing::finite_difference as fd;
    use crate::testing::finite_difference::{Plain, Tracked, random, values};
    use safetensors::Dtype;
    use safetensors::tensor::{TensorView, serialize};
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A tensor of a weights file: key, shape, values.
    type Entry = (String, Vec<usize>, Vec<f32>);

    fn tiny() -> VggConfig {
        VggConfig {
            widths: vec![4, 3, 5],
            convolutions: vec![2, 1, 2],
        }
    }

    /// Random weights of [`tiny`] under torchvision's keys. The layer numbers are written out.
    fn entries() -> Vec<Entry> {
        let layers = [(0, 3, 4), (2, 4, 4), (5, 4, 3), (8, 3, 5), (10, 5, 5)];
        let tensor = |key: String, shape: Vec<usize>, seed| -> Entry {
            let numbers = values(random([shape.iter().product()], seed));
            (key, shape, numbers.iter().map(|&v| v as f32).collect())
        };
        layers
            .iter()
            .flat_map(|&(n, within, out)| {
                let weight = vec![out, within, 3, 3];
                [
                    tensor(format!("features.{n}.weight"), weight, n),
                    tensor(format!("features.{n}.bias"), vec![out], 100 + n),
                ]
            })
            .collect()
    }

    fn save(entries: &[Entry]) -> (TempDir, PathBuf) {
        let bytes: Vec<Vec<u8>> = entries
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = entries.iter().zip(&bytes).map(|((key, shape, _), bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (key, view)
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vgg.safetensors");
        std::fs::write(&path, serialize(views, None).unwrap()).unwrap();
        (folder, path)
    }

    fn load(entries: &[Entry]) -> Result<PerceptualLoss<Plain>> {
        let (_folder, path) = save(entries);
        PerceptualLoss::load_with(&tiny(), &path, &Default::default())
    }

    /// A picture or feature map: channels of rows.
    type Map = Vec<Vec<Vec<f64>>>;

    /// The definition of the loss, in plain loops.
    struct Loops(Vec<Entry>);

    impl Loops {
        fn convolved(&self, layer: usize, x: &Map) -> Map {
            let (_, shape, weight) = &self.0[2 * layer];
            let (_, _, bias) = &self.0[2 * layer + 1];
            let (h, w) = (x[0].len(), x[0][0].len());
            let at = |c: usize, y: isize, x_: isize| {
                let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x_);
                if inside {
                    x[c][y as usize][x_ as usize]
                } else {
                    0.0
                }
            };
            let value = |o: usize, y: usize, x_: usize| {
                let mut sum = f64::from(bias[o]);
                for c in 0..shape[1] {
                    for i in 0..3 {
                        for j in 0..3 {
                            let k = f64::from(weight[((o * shape[1] + c) * 3 + i) * 3 + j]);
                            sum += k * at(c, (y + i) as isize - 1, (x_ + j) as isize - 1);
                        }
                    }
                }
                sum.max(0.0)
            };
            let row = |o, y| (0..w).map(|x_| value(o, y, x_)).collect();
            let plane = |o| (0..h).map(|y| row(o, y)).collect();
            (0..shape[0]).map(plane).collect()
        }

        fn pooled(x: &Map) -> Map {
            let pool = |plane: &Vec<Vec<f64>>| {
                let rows = plane.chunks_exact(2);
                rows.map(|rows| {
                    let pairs = rows[0].chunks_exact(2).zip(rows[1].chunks_exact(2));
                    pairs
                        .map(|(a, b)| a[0].max(a[1]).max(b[0]).max(b[1]))
                        .collect()
                })
                .collect()
            };
            x.iter().map(pool).collect()
        }

        fn features(&self, picture: &Map) -> [Map; 3] {
            let mean = [0.485, 0.456, 0.406];
            let deviation = [0.229, 0.224, 0.225];
            let mut x = picture.clone();
            for (c, plane) in x.iter_mut().enumerate() {
                for v in plane.iter_mut().flatten() {
                    *v = ((*v + 1.0) / 2.0 - mean[c]) / deviation[c];
                }
            }
            let first = self.convolved(1, &self.convolved(0, &x));
            let second = self.convolved(2, &Self::pooled(&first));
            let third = self.convolved(4, &self.convolved(3, &Self::pooled(&second)));
            [first, second, third]
        }

        fn distance(&self, student: &Map, target: &Map) -> f64 {
            let pairs = self.features(student).into_iter();
            pairs
                .zip(self.features(target))
                .map(|(s, t)| {
                    let (h, w) = (s[0].len(), s[0][0].len());
                    let mut sum = 0.0;
                    for y in 0..h {
                        for x in 0..w {
                            let vector = |f: &Map| -> Vec<f64> {
                                let v: Vec<f64> = f.iter().map(|plane| plane[y][x]).collect();
                                let squares: f64 = v.iter().map(|v| v * v).sum();
                                v.iter().map(|v| v / (squares + 1e-10).sqrt()).collect()
                            };
                            let pairs = vector(&s).into_iter().zip(vector(&t));
                            sum += pairs.map(|(s, t)| (s - t).powi(2)).sum::<f64>();
                        }
                    }
                    sum / (h * w) as f64
                })
                .sum()
        }
    }

    fn map(tensor: &Tensor<Plain, 4>, n: usize) -> Map {
        let [_, c, h, w] = tensor.dims();
        let all = values(tensor.clone());
        let row = |c_, y| all[((n * c + c_) * h + y) * w..][..w].to_vec();
        let plane = |c_| (0..h).map(|y| row(c_, y)).collect();
        (0..c).map(plane).collect()
    }

    #[test]
    fn agrees_with_plain_loops() {
        let loss = load(&entries()).unwrap();
        let loops = Loops(entries());
        // With odd sides, the pooling drops the last row and column.
        let (student, target) = (random([2, 3, 9, 11], 1), random([2, 3, 9, 11], 2));
        let expected = (0..2)
            .map(|n| loops.distance(&map(&student, n), &map(&target, n)) / 2.0)
            .sum::<f64>();
        let found = values(loss.forward(student.clone(), target))[0];
        assert!(
            (found - expected).abs() < 1e-9 * expected,
            "{found} {expected}"
        );
        assert!(values(loss.forward(student.clone(), student))[0] == 0.0);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (_folder, path) = save(&entries());
        let loss: PerceptualLoss<Tracked> =
            PerceptualLoss::load_with(&tiny(), path, &Default::default()).unwrap();
        let target = random([1, 3, 8, 9], 3);
        fd::check(random([1, 3, 8, 9], 4), |x| {
            loss.forward(x, Tensor::from_inner(target.clone()))
        });
    }

    /// With negative biases, a feature vector can be zero.
    #[test]
    fn features_of_zero_have_a_finite_gradient() {
        let mut dead = entries();
        for (key, _, values) in &mut dead {
            values.fill(if key.ends_with("bias") { -1.0 } else { 0.0 });
        }
        let (_folder, path) = save(&dead);
        let loss: PerceptualLoss<Tracked> =
            PerceptualLoss::load_with(&tiny(), path, &Default::default()).unwrap();
        let x = Tensor::<Tracked, 4>::from_inner(random([1, 3, 8, 8], 5)).require_grad();
        let target = Tensor::from_inner(random([1, 3, 8, 8], 6));
        let gradients = loss.forward(x.clone(), target).backward();
        let gradient = values(x.grad(&gradients).unwrap());
        assert!(gradient.iter().all(|&g| g == 0.0));
    }

    #[test]
    fn the_classifier_of_a_whole_model_is_ignored() {
        let mut whole = entries();
        for n in [0, 3, 6] {
            whole.push((format!("classifier.{n}.weight"), vec![2, 2], vec![0.0; 4]));
            whole.push((format!("classifier.{n}.bias"), vec![2], vec![0.0; 2]));
        }
        load(&whole).unwrap();
        whole.push(("classifier.7.bias".into(), vec![1], vec![0.0]));
        let Error::Keys { unused, .. } = load(&whole).unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(unused, ["classifier.7.bias"]);
    }

    #[test]
    fn tensors_that_do_not_fit_are_listed() {
        let mut entries = entries();
        entries[0].0 = "features.1.weight".into();
        entries[3].1 = vec![2, 2];
        let Error::Keys {
            missing,
            unused,
            misshapen,
            ..
        } = load(&entries).unwrap_err()
        else {
            panic!("another error");
        };
        assert_eq!(missing, ["features.0.weight"]);
        assert_eq!(unused, ["features.1.weight"]);
        assert_eq!(misshapen, ["features.2.bias (expected [4], found [2, 2])"]);
    }

    #[test]
    fn invalid_files_and_configs_are_refused() {
        let device = Default::default();
        let absent = PerceptualLoss::<Plain>::load("no/such/file", &device).unwrap_err();
        assert!(matches!(absent, Error::Io { .. }), "{absent}");
        let mut nan = entries();
        nan[4].2[7] = f32::NAN;
        let error = load(&nan).unwrap_err();
        assert!(matches!(error, Error::NonFiniteWeight { key, .. } if key == "features.5.weight"));
        let (_folder, path) = save(&entries());
        for (widths, convolutions, field) in [
            (vec![], vec![], "perceptual.widths"),
            (vec![4, 0], vec![1, 1], "perceptual.widths"),
            (vec![4, 4], vec![1], "perceptual.convolutions"),
            (vec![4, 4], vec![1, 0], "perceptual.convolutions"),
        ] {
            let config = VggConfig {
                widths,
                convolutions,
            };
            let error = PerceptualLoss::<Plain>::load_with(&config, &path, &device).unwrap_err();
            assert!(error.to_string().contains(field), "{error}");
        }
        std::fs::write(&path, b"not safetensors").unwrap();
        let error = PerceptualLoss::<Plain>::load(&path, &device).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
    }

    #[test]
    #[should_panic(expected = "3x9 is below 4x4")]
    fn pictures_too_small_for_the_last_stage_are_refused() {
        let loss = load(&entries()).unwrap();
        loss.forward(random([1, 3, 9, 3], 1), random([1, 3, 9, 3], 2));
    }
}
