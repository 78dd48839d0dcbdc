//! The directories that a container's files are in, as its configuration names them.

use std::path::PathBuf;

use crate::Spec;

/// One mounted tree of the container's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Where it is in the container; `/` is the first.
    pub destination: PathBuf,
    /// Topmost first.
    pub lower: Vec<PathBuf>,
    /// What the container writes to; none where the root is a directory itself.
    pub upper: Option<PathBuf>,
}

/// The root and what else is made of layers; nothing else that is mounted.
pub fn layers(spec: &Spec) -> Vec<Layers> {
    let values = |options: &[String], key: &str| -> Vec<PathBuf> {
        options.iter().filter_map(|option| option.strip_prefix(key)).map(PathBuf::from).collect()
    };
    let mut found = Vec::new();
    for (number, mount) in spec.mounts.iter().enumerate() {
        let destination = mount.destination.clone();
        if mount.kind == "overlay" {
            found.push(Layers {
                destination,
                lower: values(&mount.options, "lowerdir+="),
                upper: values(&mount.options, "upperdir=").pop(),
            });
        } else if number == 0 && destination.as_os_str() == "/" {
            found.push(Layers { destination, lower: vec![PathBuf::from(&mount.source)], upper: None });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_layers_and_a_root_that_is_a_directory_is_its_only_one() {
        let spec = |mounts: &str| serde_json::from_str(&format!(r#"{{"mounts": [{mounts}]}}"#)).unwrap();
        let overlay = r#"{"destination": "/", "type": "overlay", "source": "overlay",
            "options": ["lowerdir+=/l/2", "lowerdir+=/l/1", "upperdir=/c/upper", "workdir=/c/work"]}"#;
        let bind = r#"{"destination": "/", "type": "bind", "source": "/tree", "options": ["rbind", "rw"]}"#;
        let other = r#"{"destination": "/d", "type": "bind", "source": "/data", "options": ["rbind"]}"#;
        let root = |lower: &[&str], upper: Option<&str>| Layers {
            destination: "/".into(),
            lower: lower.iter().map(PathBuf::from).collect(),
            upper: upper.map(PathBuf::from),
        };
        assert_eq!(
            layers(&spec(&format!("{overlay}, {other}"))),
            [root(&["/l/2", "/l/1"], Some("/c/upper"))]
        );
        assert_eq!(layers(&spec(&format!("{bind}, {other}"))), [root(&["/tree"], None)]);
    }
}
