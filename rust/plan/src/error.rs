//! Why a configuration cannot be planned.

/// What is wrong with a configuration, or what this host cannot do of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("config.json is not valid: {0}")]
    Json(#[from] serde_json::Error),
    #[error("unknown capability `{0}`")]
    UnknownCapability(String),
    #[error("unknown namespace `{0}`")]
    UnknownNamespace(String),
    #[error("unknown resource limit `{0}`")]
    UnknownLimit(String),
    #[error("no command given")]
    NoCommand,
    #[error("config.json has no mount at /")]
    NoRoot,
    #[error("bind source `{0}` does not exist")]
    NoSource(String),
    #[error("layer `{0}` does not exist")]
    NoLayer(String),
    #[error("annotation {name} is not valid: {error}")]
    Annotation { name: &'static str, error: serde_json::Error },
    #[error("{0}")]
    Limit(#[from] pycontain_cgroup::Unenforceable),
    #[error("{0}")]
    Seccomp(#[from] pycontain_seccomp::Error),
    /// Something that this host cannot do, and what would change that.
    #[error("{what}")]
    Unsupported { what: String, hint: String },
}
