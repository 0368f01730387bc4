//! From the path of a field to the key of its tensor in a diffusers checkpoint.
//!
//! The UNet's fields bear diffusers' names, so a path is its key, but for this table:
//!
//! | module path ends with | key's module ends with |
//! |-----------------------|------------------------|
//! | `ff.proj`             | `ff.net.0.proj`        |
//! | `ff.out`              | `ff.net.2`             |
//!
//! A rule holds for whole names only, just before the parameter's own name (`weight`, `bias`).
//!
//! A VAE saved by an old release of diffusers has other names for the layers of its attention:
//!
//! | old key's module ends with | today's                 |
//! |----------------------------|-------------------------|
//! | `attentions.0.query`       | `attentions.0.to_q`     |
//! | `attentions.0.key`         | `attentions.0.to_k`     |
//! | `attentions.0.value`       | `attentions.0.to_v`     |
//! | `attentions.0.proj_attn`   | `attentions.0.to_out.0` |

type Rules<'a> = &'a [(&'a str, &'a str)];

const RULES: Rules = &[("ff.proj", "ff.net.0.proj"), ("ff.out", "ff.net.2")];

#[cfg(feature = "latent")]
const OLD_VAE_RULES: Rules = &[
    ("attentions.0.query", "attentions.0.to_q"),
    ("attentions.0.key", "attentions.0.to_k"),
    ("attentions.0.value", "attentions.0.to_v"),
    ("attentions.0.proj_attn", "attentions.0.to_out.0"),
];

/// Key of the parameter at `path`, for example `mid_block.resnets.0.conv1.weight`.
pub(crate) fn of_path(path: &str) -> String {
    rename(path, RULES)
}

/// Today's key for a key of a VAE of any age.
#[cfg(feature = "latent")]
pub(crate) fn of_old_vae(key: &str) -> String {
    rename(key, OLD_VAE_RULES)
}

fn rename(path: &str, rules: Rules) -> String {
    let Some((module, parameter)) = path.rsplit_once('.') else {
        return path.to_owned();
    };
    for (from, to) in rules {
        if let Some(stem) = module.strip_suffix(from)
            && (stem.is_empty() || stem.ends_with('.'))
        {
            return format!("{stem}{to}.{parameter}");
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::of_path;

    #[test]
    fn rules_rename_the_feed_forward_only() {
        let block = "down_blocks.0.attentions.1.transformer_blocks.0";
        for (ours, theirs) in [
            ("ff.proj.weight", "ff.net.0.proj.weight"),
            ("ff.proj.bias", "ff.net.0.proj.bias"),
            ("ff.out.weight", "ff.net.2.weight"),
            ("attn1.to_out.0.bias", "attn1.to_out.0.bias"),
        ] {
            assert_eq!(
                of_path(&format!("{block}.{ours}")),
                format!("{block}.{theirs}")
            );
        }
    }

    #[cfg(feature = "latent")]
    #[test]
    fn old_names_of_a_vae_are_renamed() {
        let block = "decoder.mid_block.attentions.0";
        for (old, new) in [
            ("query", "to_q"),
            ("key", "to_k"),
            ("value", "to_v"),
            ("proj_attn", "to_out.0"),
            ("group_norm", "group_norm"),
            ("to_out.0", "to_out.0"),
        ] {
            let key = super::of_old_vae(&format!("{block}.{old}.bias"));
            assert_eq!(key, format!("{block}.{new}.bias"));
        }
        assert_eq!(super::of_old_vae("x.query.weight"), "x.query.weight");
    }

    #[test]
    fn rules_are_anchored() {
        for path in ["off.proj.weight", "x.ff.proj.y.weight", "ff.proj", "weight"] {
            assert_eq!(of_path(path), path);
        }
        assert_eq!(of_path("ff.proj.weight"), "ff.net.0.proj.weight");
    }
}
