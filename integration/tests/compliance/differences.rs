//! Where Prometheus 3, which Trireme follows, answers otherwise than the 2.42 that the answers are held against.

/// How the two answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both answer, with different series or numbers.
    Values,
    /// 2.42 refuses what Prometheus 3 answers.
    OnlyOldFails,
}

/// A query with different answers. The test fails if the answers agree after all.
pub struct Difference {
    /// The query.
    pub query: &'static str,
    /// What is seen.
    pub kind: Kind,
    /// Why.
    pub reason: &'static str,
}

/// All of them. Nothing else of what changed between the releases shows in the suite's queries on the data of this test:
/// `compliance.rs` says where its times are chosen for that.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        query: r#"label_replace(demo_num_cpus, "~invalid", "", "src", "(.*)")"#,
        kind: Kind::OnlyOldFails,
        reason: "any UTF-8 text is a valid label name",
    },
    Difference {
        query: r#"label_join(demo_num_cpus, "~invalid", "-", "instance")"#,
        kind: Kind::OnlyOldFails,
        reason: "any UTF-8 text is a valid label name",
    },
];
