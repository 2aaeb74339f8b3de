//! Asking a member of each other group.
//!
//! Members are asked one after the other until one answers that has everything its group has acknowledged. If none does, all
//! of them are asked for what they have as it is: the union of that is right where one of them has the sample, and the
//! answer says that something may be missing. An answer that is too large comes in shards.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use prost::Message;
use trireme_base::ErrorKind;

use crate::message;
use crate::read_index::{Answer, must_not_wait};
use crate::{GroupQueries, OtherGroup, SHARD_TIMEOUT, forgive};
use trireme_query::{QueryContext, QueryError};

/// Shards that take the place of one that is too large.
const SPLIT: u32 = 8;
/// Most shards of an answer.
const SHARDS_MAX: u32 = 4_096;

/// What other groups have.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) answers: Vec<message::Answer>,
    pub(super) warnings: Vec<String>,
}

/// Questions that are under way.
pub(super) struct Gather<'a> {
    of_group: &'a GroupQueries,
    context: &'a QueryContext,
    find: message::Find,
    groups: Vec<Asking>,
    done: Sender<Answer>,
    answers: Receiver<Answer>,
    /// Monotonic time after which nothing is waited for.
    until: Duration,
}

/// One group. At most one question is under way.
struct Asking {
    group: OtherGroup,
    /// Index of the member that is being asked.
    member: usize,
    /// No member is complete, or none has to be.
    as_it_is: bool,
    /// Shards that are still to be asked of the member; `(0, 0)` is all series.
    todo: Vec<(u32, u32)>,
    got: Vec<message::Answer>,
    /// A member has given all that it has.
    is_answered: bool,
    is_over: bool,
    /// Stops the question when it is dropped.
    under_way: Option<Box<dyn Send>>,
}

impl Asking {
    fn new(group: OtherGroup) -> Self {
        // A group that is forming has nobody who could be complete, and as a rule nothing.
        let as_it_is = !group.has_data;
        Self {
            group,
            member: 0,
            as_it_is,
            todo: vec![(0, 0)],
            got: Vec::new(),
            is_answered: false,
            is_over: false,
            under_way: None,
        }
    }

    /// A member gave all it has.
    fn member_done(&mut self) {
        self.is_answered = true;
        if self.as_it_is {
            self.next_member()
        } else {
            self.is_over = true
        }
    }

    /// A member did not answer, or is behind its group.
    fn member_failed(&mut self) {
        if !self.as_it_is {
            // Shards of two members could differ.
            self.got.clear();
        }
        self.next_member();
    }

    fn next_member(&mut self) {
        self.todo = vec![(0, 0)];
        self.member += 1;
        if self.member < self.group.members.len() {
            return;
        }

        if self.as_it_is {
            self.is_over = true;
        } else {
            (self.as_it_is, self.member) = (true, 0);
        }
    }

    /// What has to be said about the group's part.
    fn complaint(&self) -> Option<String> {
        let name = &self.group.name;
        match (self.group.has_data, self.as_it_is, self.is_answered) {
            (false, _, _) | (true, false, true) => None,
            (true, true, true) => Some(format!(
                "no replica of group {name} is known to have all acknowledged samples: some may be missing from this answer"
            )),
            (true, _, false) => Some(format!(
                "no replica of group {name} can be asked: what it has that is not in the bucket is missing from this answer"
            )),
        }
    }
}

/// What is said about an answer of another version.
pub(super) fn unreadable(context: &QueryContext) -> Result<Option<String>, QueryError> {
    let text = "an answer of another group cannot be read: something may be missing from this one";
    forgive(context, text.to_owned()).map(Some)
}

impl<'a> Gather<'a> {
    /// Sends the first questions. Waits a moment after a start, until every group has been met.
    pub(super) fn begin(
        of_group: &'a GroupQueries,
        context: &'a QueryContext,
        others: &[OtherGroup],
        find: message::Find,
    ) -> Result<Self, QueryError> {
        must_not_wait(context)?;
        let groups = block_on(of_group.met(
            context,
            others.to_vec(),
            || of_group.replicas.other_groups(),
            |groups| {
                !groups
                    .iter()
                    .any(|group| group.has_data && group.members.is_empty())
            },
        ))?;

        let (done, answers) = channel();
        let until = of_group.clock.monotonic() + SHARD_TIMEOUT;
        let find = message::Find {
            tenant: context.tenant.as_str().to_owned(),
            ..find
        };
        let groups = groups.into_iter().map(Asking::new).collect();
        let mut gather = Self {
            of_group,
            context,
            find,
            groups,
            done,
            answers,
            until,
        };

        for group in 0..gather.groups.len() {
            gather.ask(group);
        }

        Ok(gather)
    }

    /// Everything, once it is there.
    pub(super) fn finish(mut self) -> Result<Gathered, QueryError> {
        while self.groups.iter().any(|group| !group.is_over) {
            let Some(answer) = self
                .of_group
                .next(&self.answers, self.until, self.context)?
            else {
                // Out of time. What is under way is given up.
                break;
            };
            self.answered(answer)?;
        }

        let mut gathered = Gathered::default();
        for group in self.groups {
            if let Some(text) = group.complaint() {
                gathered.warnings.push(forgive(self.context, text)?);
            }
            gathered.answers.extend(group.got);
        }

        Ok(gathered)
    }

    fn ask(&mut self, number: usize) {
        let asking = &mut self.groups[number];
        asking.under_way = None;
        let (Some(member), Some((shard, shards))) = (
            asking.group.members.get(asking.member),
            asking.todo.last().copied(),
        ) else {
            asking.is_over = true;
            return;
        };

        let of = message::OfGroup {
            find: Some(self.find.clone()),
            shard,
            shards,
            as_it_is: asking.as_it_is,
        };

        let request = message::Request {
            question: Some(message::Question::OfGroup(of)),
        };
        let body = Bytes::from(request.encode_to_vec());
        let left = self.until.saturating_sub(self.of_group.clock.monotonic());
        let done = self.done.clone();

        // Who asked may have gone.
        let done = Box::new(move |body| drop(done.send(Answer { from: number, body })));
        let asked = self.of_group.replicas.ask(member, body, left, done);

        asking.under_way = Some(asked);
    }

    fn answered(&mut self, answer: Answer) -> Result<(), QueryError> {
        let number = answer.from;
        let decoded = answer
            .body
            .ok()
            .and_then(|body| message::Answer::decode(body).ok());
        let Some(asking) = self.groups.get_mut(number) else {
            return Ok(());
        };

        match decoded {
            None => asking.member_failed(),
            // Of another version, or nonsense: whoever answers for its group says so.
            Some(answer) if !asking.as_it_is && !answer.complete && !answer.too_large => {
                asking.member_failed()
            }
            Some(answer) if answer.too_large => {
                let (shard, shards) = asking.todo.pop().unwrap_or_default();
                let parts = shards.max(1) * SPLIT;
                if parts > SHARDS_MAX {
                    let why = format!("group {} has too much for one answer", asking.group.name);
                    return Err(QueryError::new(ErrorKind::Limited, why));
                }
                asking
                    .todo
                    .extend((0..SPLIT).map(|i| (shard + shards.max(1) * i, parts)));
            }
            Some(answer) => {
                self.of_group.hold(self.context, &answer)?;
                asking.got.push(answer);
                asking.todo.pop();
                if asking.todo.is_empty() {
                    asking.member_done();
                }
            }
        }

        if !asking.is_over {
            self.ask(number);
        }

        Ok(())
    }
}
