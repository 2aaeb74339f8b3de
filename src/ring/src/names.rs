//! Node names in JSON.

use serde::{Deserialize, Deserializer, Serializer};
use trireme_base::NodeName;

pub(crate) fn serialize<S: Serializer>(node: &NodeName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(node.as_str())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<NodeName, D::Error> {
    Ok(NodeName::new(&String::deserialize(deserializer)?))
}

/// The same for a name that may be absent.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        node: &Option<NodeName>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match node {
            Some(node) => to.serialize_some(node.as_str()),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<NodeName>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(|name| NodeName::new(&name)))
    }
}
