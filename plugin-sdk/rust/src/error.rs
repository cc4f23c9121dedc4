//! What can go wrong, on both sides.

use std::fmt;

pub use crate::bindings::tollgate::plugin::types::{ConfigMistake, Error};

/// What the functions of this crate give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A mistake in the plugin's configuration. `pointer` is a JSON pointer to it, such as `/rules/2/when`;
    /// an empty one is the whole configuration. Returned from `configure`, it stops Tollgate's start and
    /// prints like a compiler's message.
    pub fn config(pointer: impl Into<String>, message: impl fmt::Display) -> Error {
        Error::BadConfig(ConfigMistake { pointer: pointer.into(), message: message.to_string() })
    }

    /// The plugin itself failed: something that it depends on, or that it took for granted. Returned from
    /// `process`, it undoes what was done to the batch, and `on_failure` decides.
    ///
    /// ```
    /// # use tollgate_plugin::{Error, Result};
    /// # fn port(of: &str) -> Result<u16> {
    /// let port = of.parse().map_err(Error::failed)?;
    /// # Ok(port)
    /// # }
    /// ```
    pub fn failed(why: impl fmt::Display) -> Error {
        Error::Failed(why.to_string())
    }

    /// The same, as a mistake at this place of the configuration: for what the host refused in `configure`.
    ///
    /// ```
    /// # use tollgate_plugin::{Pattern, Result};
    /// # fn configure(expression: &str) -> Result<Pattern> {
    /// let pattern = Pattern::new(expression).map_err(|error| error.at("/pattern"))?;
    /// # Ok(pattern)
    /// # }
    /// ```
    pub fn at(self, pointer: impl Into<String>) -> Error {
        match self {
            Error::BadConfig(mistake) => Error::config(pointer.into() + &mistake.pointer, mistake.message),
            Error::BadArgument(message) | Error::Unsupported(message) | Error::Failed(message) => {
                Error::config(pointer, message)
            }
        }
    }

    /// What is wrong, without what kind of mistake it is and where.
    pub fn message(&self) -> &str {
        match self {
            Error::BadConfig(mistake) => &mistake.message,
            Error::BadArgument(message) | Error::Unsupported(message) | Error::Failed(message) => message,
        }
    }
}
