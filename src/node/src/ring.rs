//! The ring at run time: how this node hears of changes, follows them, and takes part in deciding them.
//!
//! | file | does |
//! |---|---|
//! | `keeper` | consensus over the mesh's calls; fetches the ring of peers that are ahead, tells those that are behind |
//! | `follow` | makes mesh, replication, quorum and gate follow the ring |
//! | `steward` | on the leader: gathers evidence, guards changes, brings replacements forward |
//! | `stock` | what this node has that the bucket has not, which its group must not take with it |
//! | `word` | what a leader in another group asks |
//! | `ask` | what operators ask for, from HTTP to the leader |

pub(crate) mod ask;
pub(crate) mod follow;
pub(crate) mod keeper;
pub(crate) mod steward;
pub(crate) mod stock;
mod word;
