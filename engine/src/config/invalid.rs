//! Owns what is said of a setting that makes no sense. Refuses to know the settings.

use wsring_proto::deflate::InvalidSettings;

/// A setting that makes no sense, of a server or client or of one connection ([`Terms`](crate::Terms)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {rule}")]
pub struct InvalidConfig {
    pub(crate) setting: &'static str,
    pub(crate) rule: &'static str,
}

impl InvalidConfig {
    /// Which: the name of the setter in [`Config`](crate::Config), such as `output_low_bytes`; of compression `deflate.` and the one in [`Deflate`](crate::Deflate).
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl From<InvalidSettings> for InvalidConfig {
    fn from(InvalidSettings { setting, rule, .. }: InvalidSettings) -> Self {
        Self { setting, rule }
    }
}
