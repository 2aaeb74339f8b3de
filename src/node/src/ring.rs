//! The ring at run time: how this node hears of changes, follows them, and takes part in deciding them.
//!
//! | file | does |
//! |---|---|
//! | `keeper` | consensus over the mesh's calls; fetches the ring of peers that are ahead, tells those that are behind |
//! | `follow` | makes mesh, replication, quorum and gate follow the ring |

pub(crate) mod follow;
pub(crate) mod keeper;
