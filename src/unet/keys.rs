//! Maps the path of a field to the key of its tensor in a diffusers checkpoint.
//!
//! The UNet's fields have diffusers' names, so a path is its key, with these exceptions:
//!
//! | the path's module ends with | the key's module ends with |
//! |-----------------------------|----------------------------|
//! | `ff.proj`                   | `ff.net.0.proj`            |
//! | `ff.out`                    | `ff.net.2`                 |
//!
//! A rule matches whole names only, directly before the name of the parameter (`weight`, `bias`).

/// Pairs of the end of a module path and its replacement.
pub(crate) type Rules<'a> = &'a [(&'a str, &'a str)];

/// The exceptions in the table above.
const RULES: Rules = &[("ff.proj", "ff.net.0.proj"), ("ff.out", "ff.net.2")];

/// Returns the key of the parameter at `path`, for example `mid_block.resnets.0.conv1.weight`.
pub(crate) fn from_path(path: &str) -> String {
    rename(path, RULES)
}

/// Returns `path` with the end of its module replaced by the first rule that matches.
pub(crate) fn rename(path: &str, rules: Rules) -> String {
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
    use super::from_path;

    #[test]
    fn rules_rename_the_feed_forward_only() {
        let block = "down_blocks.0.attentions.1.transformer_blocks.0";
        for (path, key) in [
            ("ff.proj.weight", "ff.net.0.proj.weight"),
            ("ff.proj.bias", "ff.net.0.proj.bias"),
            ("ff.out.weight", "ff.net.2.weight"),
            ("attn1.to_out.0.bias", "attn1.to_out.0.bias"),
        ] {
            assert_eq!(
                from_path(&format!("{block}.{path}")),
                format!("{block}.{key}")
            );
        }
    }

    #[test]
    fn rules_are_anchored() {
        for path in ["off.proj.weight", "x.ff.proj.y.weight", "ff.proj", "weight"] {
            assert_eq!(from_path(path), path);
        }
        assert_eq!(from_path("ff.proj.weight"), "ff.net.0.proj.weight");
    }
}
