//! The ring at run time: how this node hears of changes, follows them, and takes part in deciding them.
//!
//! | file | does |
//! |---|---|
//! | `keeper` | consensus over the mesh's calls; fetches the ring of peers that are ahead, tells those that are behind |
//! | `follow` | makes mesh, replication, quorum and gate follow the ring |
//! | `steward` | on the leader: gathers evidence, guards changes, brings replacements forward |
//! | `ask` | what operators ask for, from HTTP to the leader |

pub(crate) mod ask;
pub(crate) mod follow;
pub(crate) mod keeper;
pub(crate) mod steward;
