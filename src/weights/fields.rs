//! Strict reading of the fields of a diffusers `config.json`.

use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

pub(crate) type Fields = serde_json::Map<String, Value>;

/// The fields of a model's config. Fields that are missing in a file have the defaults of
/// diffusers.
pub(crate) struct Schema {
    /// Fields that must have one of the listed values (as JSON), or be a list of such values. The
    /// values include the default of diffusers, except for the field [`required`](Self::required).
    pub(crate) fixed: &'static [(&'static str, &'static [&'static str])],
    /// The fixed field whose default in diffusers is not implemented: the default is `false`, but
    /// only `true` is implemented.
    pub(crate) required: Option<&'static str>,
    /// Fields that have no effect here.
    pub(crate) ignored: &'static [&'static str],
    /// Fields that are read.
    pub(crate) read: &'static [&'static str],
}

/// Reads a text file.
///
/// # Errors
///
/// - [`Error::Io`] if the file cannot be read.
/// - [`Error::Format`] if it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    String::from_utf8(bytes).map_err(|error| Error::format(path, error.to_string()))
}

/// Reads the fields of a config.
///
/// # Errors
///
/// - [`Error::Io`] if the file cannot be read.
/// - [`Error::Format`] if it is not a JSON object.
pub(crate) fn parse(path: &Path) -> Result<Fields> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| Error::format(path, format!("is not a JSON object: {error}")))
}

impl Schema {
    /// Checks the fields that are not read, and returns a reader for the others.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a field is unknown or has a value that is not implemented.
    pub(crate) fn check<'a>(&self, fields: &'a Fields, path: &'a Path) -> Result<FieldReader<'a>> {
        let reader = FieldReader { fields, path };
        self.check_fixed(&reader)?;
        self.check_unknown(&reader)?;
        Ok(reader)
    }

    fn check_fixed(&self, reader: &FieldReader) -> Result<()> {
        for &(field, supported) in self.fixed {
            let fits = |value: &Value| {
                supported.iter().any(|text| match value.as_f64() {
                    // 1 and 1.0 are the same value.
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

    /// Rejects unknown fields, unless they are switched off. Later releases of diffusers may add
    /// fields.
    fn check_unknown(&self, reader: &FieldReader) -> Result<()> {
        for (name, value) in reader.fields {
            let known = name.starts_with('_')
                || self.fixed.iter().any(|(field, _)| field == name)
                || self.ignored.contains(&name.as_str())
                || self.read.contains(&name.as_str());
            if !known && !matches!(value, Value::Null | Value::Bool(false)) {
                let path = reader.path.display();
                let field = "config.json";
                let reason =
                    format!("{path}: the field `{name}` is unknown and has the value {value}");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
    }
}

/// Reads fields, with a default for each.
pub(crate) struct FieldReader<'a> {
    fields: &'a Fields,
    /// Path of the file, for errors.
    path: &'a Path,
}

impl FieldReader<'_> {
    /// Returns the error for a field with an unsupported `value`.
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

    /// Reads one number per stage: either a list, or a single number that applies to all stages.
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

    /// Returns whether each block has attention. The block types are called `without` and `with`.
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
