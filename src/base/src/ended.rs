//! Streams that have ended.

use std::collections::BTreeMap;

use crate::{Boot, Incarnation, StreamId};

/// How far the streams of an incarnation have ended: those before a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The first boot whose stream goes on.
    pub before: Boot,
    /// Tells how far each of the streams came that have ended, see [`End::with`].
    pub digest: u64,
}

impl End {
    /// None has ended.
    const NONE: Self = Self {
        before: Boot(0),
        digest: 0,
    };

    /// The digest with one more stream; streams come in order of boot, and those without a record not at all.
    ///
    /// Two replicas have the same of all that has ended if and only if their digests are equal, as far as 64 bits can tell.
    /// Positions of such streams are known to nobody any more, so this is how a replica finds out that it lacks some.
    pub fn with(digest: u64, boot: Boot, seq: u64) -> u64 {
        mixed(mixed(digest ^ u64::from(boot.0)).wrapping_add(seq))
    }
}

/// A bijection that spreads each bit over all others.
fn mixed(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Per incarnation, up to which boot its streams have ended. It only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended(BTreeMap<Incarnation, End>);

impl Ended {
    /// True if a stream has ended.
    pub fn has(&self, stream: StreamId) -> bool {
        stream.boot < self.before(stream.incarnation)
    }

    /// How far the streams of an incarnation have ended.
    pub fn of(&self, incarnation: Incarnation) -> End {
        self.0.get(&incarnation).copied().unwrap_or(End::NONE)
    }

    /// The first boot of an incarnation whose stream goes on; 0 if none has ended.
    pub fn before(&self, incarnation: Incarnation) -> Boot {
        self.of(incarnation).before
    }

    /// More streams of an incarnation have ended; true if that is news.
    pub fn raise(&mut self, incarnation: Incarnation, end: End) -> bool {
        let is_news = end.before > self.before(incarnation);
        if is_news {
            self.0.insert(incarnation, end);
        }
        is_news
    }

    /// What has ended there has ended here; true if that is news.
    pub fn merge(&mut self, other: &Self) -> bool {
        other.iter().fold(false, |is_news, (incarnation, end)| {
            self.raise(incarnation, end) | is_news
        })
    }

    /// By incarnation.
    pub fn iter(&self) -> impl Iterator<Item = (Incarnation, End)> + '_ {
        self.0.iter().map(|(incarnation, end)| (*incarnation, *end))
    }

    /// Number of incarnations.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if no stream has ended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Incarnation, End)> for Ended {
    fn from_iter<I: IntoIterator<Item = (Incarnation, End)>>(ends: I) -> Self {
        let mut ended = Self::default();
        for (incarnation, end) in ends {
            ended.raise(incarnation, end);
        }
        ended
    }
}

/// Without digests, for who only asks which.
impl FromIterator<(Incarnation, Boot)> for Ended {
    fn from_iter<I: IntoIterator<Item = (Incarnation, Boot)>>(ends: I) -> Self {
        ends.into_iter()
            .map(|(incarnation, before)| (incarnation, End { before, digest: 0 }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_only_moves_forward() {
        let stream = |boot| StreamId {
            incarnation: Incarnation(1),
            boot: Boot(boot),
        };
        let up_to = |boot, digest| {
            (
                Incarnation(1),
                End {
                    before: Boot(boot),
                    digest,
                },
            )
        };

        let mut ended: Ended = [up_to(3, 9)].into_iter().collect();
        assert!(ended.has(stream(2)) && !ended.has(stream(3)));
        assert!(!ended.has(StreamId {
            incarnation: Incarnation(2),
            boot: Boot(0)
        }));
        assert!(!ended.merge(&[up_to(2, 7)].into_iter().collect()));

        assert!(!ended.merge(&[up_to(3, 7)].into_iter().collect()));
        assert_eq!(ended.of(Incarnation(1)), up_to(3, 9).1);
        assert!(ended.merge(&[up_to(5, 4)].into_iter().collect()));

        assert_eq!(ended.of(Incarnation(1)), up_to(5, 4).1);
    }

    #[test]
    fn digests_differ_wherever_a_stream_does() {
        let digest = |streams: &[(u32, u64)]| {
            streams.iter().fold(0, |digest, (boot, seq)| {
                End::with(digest, Boot(*boot), *seq)
            })
        };

        let same = digest(&[(1, 5), (2, 6), (4, 1)]);
        assert_eq!(same, digest(&[(1, 5), (2, 6), (4, 1)]));

        for other in [
            &[(1, 5), (2, 5), (4, 1)][..],
            &[(1, 5), (3, 6), (4, 1)],
            &[(1, 5), (4, 1)],
            &[(2, 6), (4, 1)],
            &[(1, 6), (2, 5), (4, 1)],
            &[],
        ] {
            assert_ne!(digest(other), same, "{other:?}");
        }

        assert_ne!(digest(&[(0, 0)]), 0);
    }
}
