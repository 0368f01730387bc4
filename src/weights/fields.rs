//! Fields of a diffusers `config.json`, read strictly.

use super::{invalid, io};
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

pub(crate) type Fields = serde_json::Map<String, Value>;

/// The fields of a model's config. Those absent from a file have diffusers' defaults.
pub(crate) struct Schema {
    /// Fields that must have one of these values (in JSON), or a list of such. All accept what diffusers takes for an
    /// absent field, but [`required`](Self::required).
    pub(crate) fixed: &'static [(&'static str, &'static [&'static str])],
    /// The fixed field whose default in diffusers is another value: `false`, where `true` is implemented.
    pub(crate) required: Option<&'static str>,
    /// Fields that change nothing here.
    pub(crate) ignored: &'static [&'static str],
    /// Fields that are read.
    pub(crate) read: &'static [&'static str],
}

/// Reads a file of text.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be read.
/// - [`Error::Format`] when it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(io(path))?;
    String::from_utf8(bytes).map_err(|error| invalid(path, error.to_string()))
}

/// Reads a config's fields.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be read.
/// - [`Error::Format`] when it is not a JSON object.
pub(crate) fn parse(path: &Path) -> Result<Fields> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| invalid(path, format!("is not a JSON object: {error}")))
}

impl Schema {
    /// Checks the fields that are not read; the others are then for the [`Reader`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when a field has a value that is not implemented, or is not known.
    pub(crate) fn check<'a>(&self, fields: &'a Fields, path: &'a Path) -> Result<Reader<'a>> {
        let reader = Reader { fields, path };
        self.check_fixed(&reader)?;
        self.check_unknown(&reader)?;
        Ok(reader)
    }

    fn check_fixed(&self, reader: &Reader) -> Result<()> {
        for &(field, supported) in self.fixed {
            let fits = |value: &Value| {
                supported.iter().any(|text| match value.as_f64() {
                    // 1 and 1.0 are one value.
                    Some(number) => text.parse() == Ok(number),
                    None => serde_json::from_str(text).is_ok_and(|other: Value| other == *value),
                })
            };
            match reader.fields.get(field) {
                None if Some(field) == self.required => {
                    return Err(reader.unsupported(field, &Value::Bool(false), "true"));
                }
                None => {}
                Some(Value::Array(values)) if values.iter().all(fits) => {}
                Some(value) if fits(value) => {}
                Some(value) => {
                    return Err(reader.unsupported(field, value, &supported.join(" or ")));
                }
            }
        }
        Ok(())
    }

    /// A later release of diffusers may know more fields; those switched off change nothing.
    fn check_unknown(&self, reader: &Reader) -> Result<()> {
        for (name, value) in reader.fields {
            let known = name.starts_with('_')
                || self.fixed.iter().any(|(field, _)| field == name)
                || self.ignored.contains(&name.as_str())
                || self.read.contains(&name.as_str());
            if !known && !matches!(value, Value::Null | Value::Bool(false)) {
                let path = reader.path.display();
                let field = "config.json";
                let reason = format!("{path}: the field `{name}` is not known, and is {value}");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
    }
}

/// Reads fields, each with its default.
pub(crate) struct Reader<'a> {
    fields: &'a Fields,
    /// For errors.
    path: &'a Path,
}

impl Reader<'_> {
    pub(crate) fn unsupported(&self, field: &'static str, value: &Value, supported: &str) -> Error {
        let path = self.path.display();
        let reason = format!("{value} in {path} is not supported, only {supported}");
        Error::Config { field, reason }
    }

    fn to_number(&self, field: &'static str, value: &Value) -> Result<usize> {
        value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| self.unsupported(field, value, "a whole number"))
    }

    pub(crate) fn number(&self, field: &'static str, default: usize) -> Result<usize> {
        let value = self.fields.get(field);
        value.map_or(Ok(default), |value| self.to_number(field, value))
    }

    pub(crate) fn real(&self, field: &'static str, default: f64) -> Result<f64> {
        self.fields.get(field).map_or(Ok(default), |value| {
            let not_a_number = || self.unsupported(field, value, "a number");
            value.as_f64().ok_or_else(not_a_number)
        })
    }

    #[cfg(feature = "latent")]
    pub(crate) fn flag(&self, field: &'static str, default: bool) -> Result<bool> {
        self.fields.get(field).map_or(Ok(default), |value| {
            let not_a_flag = || self.unsupported(field, value, "true or false");
            value.as_bool().ok_or_else(not_a_flag)
        })
    }

    pub(crate) fn list(&self, field: &'static str, default: &[usize]) -> Result<Vec<usize>> {
        match self.fields.get(field) {
            None => Ok(default.to_vec()),
            Some(Value::Array(values)) => {
                let numbers = values.iter().map(|value| self.to_number(field, value));
                numbers.collect()
            }
            Some(value) => Err(self.unsupported(field, value, "a list of whole numbers")),
        }
    }

    /// A number for all stages, or a list.
    pub(crate) fn per_stage(
        &self,
        field: &'static str,
        default: usize,
        stages: usize,
    ) -> Result<Vec<usize>> {
        match self.fields.get(field) {
            Some(Value::Array(_)) => self.list(field, &[]),
            _ => Ok(vec![self.number(field, default)?; stages]),
        }
    }

    /// Whether each block has attention, by the names of the block `without` and of that with it.
    pub(crate) fn attention(
        &self,
        field: &'static str,
        [without, with]: [&str; 2],
        default: [bool; 4],
    ) -> Result<Vec<bool>> {
        let supported = || format!("a list of {without} and {with}");
        match self.fields.get(field) {
            None => Ok(default.to_vec()),
            Some(Value::Array(kinds)) => kinds
                .iter()
                .map(|kind| match kind.as_str() {
                    Some(kind) if kind == with => Ok(true),
                    Some(kind) if kind == without => Ok(false),
                    _ => Err(self.unsupported(field, kind, &supported())),
                })
                .collect(),
            Some(value) => Err(self.unsupported(field, value, &supported())),
        }
    }
}
