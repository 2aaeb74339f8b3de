//! The calls that nodes make to each other, a row each.
//!
//! | method | request | reply |
//! |---|---|---|
//! | `ForwardWrite` | an [`entry`](crate::entry) of a whole write that the caller cannot take | its outcome |
//! | `Query` | a question about samples, or a query to evaluate | samples, or states of aggregations |
//! | `WritePart` | one byte that says how often it may be passed on, then an entry | its outcome |
//! | `Rebuild` | [`rebuild::Request`](crate::rebuild::Request) | what that names |
//! | `Blocks` | [`blocks::Request`](crate::blocks::Request) | what that names |
//! | `Ring` | JSON of the consensus | JSON of the consensus |
//!
//! A number is never given to another method. Fields are only added to messages; another meaning is another version.

/// What is asked of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Method {
    /// Stores a whole write in the place of another member of the group.
    ForwardWrite = 1,
    /// Answers about samples.
    Query = 2,
    /// Stores a part of a write that belongs to the group of the one who is asked.
    WritePart = 3,
    /// Gives a snapshot to a replica that is being rebuilt.
    Rebuild = 4,
    /// Names blocks and gives pieces of them.
    Blocks = 5,
    /// Decides about the ring.
    Ring = 16,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ForwardWrite,
        Self::Query,
        Self::WritePart,
        Self::Rebuild,
        Self::Blocks,
        Self::Ring,
    ];

    /// Its number in frames.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Version of its messages.
    pub fn version(self) -> u32 {
        1
    }

    /// The method with a number; `None` if this release does not know it.
    pub fn of_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_back_to_its_method_and_an_unknown_one_to_none() {
        for method in Method::ALL {
            assert_eq!(Method::of_number(method.number()), Some(method));
        }
        assert_eq!([0, 6, 15, 17, u32::MAX].map(Method::of_number), [None; 5]);
    }
}
