//! Attributes to labels.

use std::collections::BTreeMap;

use trireme_model::METRIC_NAME;

use super::OtlpOptions;
use super::names;
use super::proto::{KeyValue, Resource};
use super::value::text;
use super::warnings::{LABEL_NAME_COLLISION, Warnings};

/// Labels by name.
pub(super) type LabelMap = BTreeMap<String, String>;

const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_NAME: &str = "service.name";
const SERVICE_INSTANCE: &str = "service.instance.id";
/// Attributes that become `job` and `instance`.
const IDENTITY: [&str; 3] = [SERVICE_NAMESPACE, SERVICE_NAME, SERVICE_INSTANCE];

const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// An attribute whose name leaves nothing for a label's name.
pub(super) struct BadName(String);

impl BadName {
    /// Says what is wrong, and with whose attribute.
    pub(super) fn of(&self, whose: &str) -> String {
        format!("{whose}: nothing is left of {:?} as a label name", self.0)
    }
}

/// What a resource gives to its series.
pub(super) struct Target {
    /// `job` and `instance`, which win over attributes of points.
    identity: LabelMap,
    /// Promoted attributes, which attributes of points win over.
    promoted: LabelMap,
    /// Labels of the `target_info` series, if there is one.
    pub(super) info: Result<Option<LabelMap>, BadName>,
}

impl Target {
    pub(super) fn new(
        resource: &Resource,
        options: &OtlpOptions,
        warnings: &mut Warnings,
    ) -> Result<Self, BadName> {
        let identity = identity(resource);
        let promoted = promoted(resource, options)?;
        let info = if options.target_info {
            info(resource, &identity, warnings)
        } else {
            Ok(None)
        };

        Ok(Self {
            identity,
            promoted,
            info,
        })
    }

    /// Labels of a point: its attributes, then what the resource gives.
    pub(super) fn labels(
        &self,
        of: &[KeyValue],
        warnings: &mut Warnings,
    ) -> Result<LabelMap, BadName> {
        let mut labels = attributes(of.iter(), warnings)?;
        for (name, value) in &self.promoted {
            let own = labels.entry(name.clone()).or_default();
            if own.is_empty() {
                own.clone_from(value);
            }
        }

        labels.extend(self.identity.clone());
        Ok(labels)
    }
}

/// `job` and `instance` of a resource, as far as it has them.
fn identity(resource: &Resource) -> LabelMap {
    let namespace = attribute(resource, SERVICE_NAMESPACE);
    let job = attribute(resource, SERVICE_NAME).map(|name| match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    });

    let named = [
        (JOB, job),
        (INSTANCE, attribute(resource, SERVICE_INSTANCE)),
    ];
    let known = named
        .into_iter()
        .filter_map(|(label, value)| Some((label.to_owned(), value?)));

    known.filter(|(_, value)| !value.is_empty()).collect()
}

fn attribute(resource: &Resource, key: &str) -> Option<String> {
    let found = resource.attributes.iter().find(|a| a.key == key);
    found.map(|a| text(a.value.as_ref()))
}

fn promoted(resource: &Resource, options: &OtlpOptions) -> Result<LabelMap, BadName> {
    let mut labels = LabelMap::new();
    for attribute in &resource.attributes {
        if options.promote_resource_attributes.contains(&attribute.key) {
            let name = label_name(attribute)?;
            labels.insert(name, text(attribute.value.as_ref()));
        }
    }

    Ok(labels)
}

/// Labels of `target_info`: none where it would say nothing, or nothing could be joined with it.
fn info(
    resource: &Resource,
    identity: &LabelMap,
    warnings: &mut Warnings,
) -> Result<Option<LabelMap>, BadName> {
    let other: Vec<&KeyValue> = resource
        .attributes
        .iter()
        .filter(|a| !IDENTITY.contains(&a.key.as_str()))
        .collect();

    if other.is_empty() {
        return Ok(None);
    }

    let mut labels = attributes(other.into_iter(), warnings)?;
    labels.extend(identity.clone());
    let can_be_joined = labels.contains_key(JOB) || labels.contains_key(INSTANCE);

    Ok(can_be_joined.then_some(labels))
}

/// Labels of attributes; values of attributes whose names become equal are joined, in order of the original names.
fn attributes<'a>(
    attributes: impl Iterator<Item = &'a KeyValue>,
    warnings: &mut Warnings,
) -> Result<LabelMap, BadName> {
    let mut sorted: Vec<&KeyValue> = attributes.filter(|a| a.key != METRIC_NAME).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));

    let mut labels = LabelMap::new();
    for attribute in sorted {
        let value = text(attribute.value.as_ref());
        let name = label_name(attribute)?;
        if labels.get(&name).is_some_and(|before| !before.is_empty()) {
            warnings.add(LABEL_NAME_COLLISION, &name);
        }
        let joined: &mut String = labels.entry(name).or_default();
        if !joined.is_empty() {
            joined.push(';');
        }
        joined.push_str(&value);
    }

    labels.retain(|name, value| name != METRIC_NAME && !value.is_empty());
    Ok(labels)
}

fn label_name(attribute: &KeyValue) -> Result<String, BadName> {
    names::label(&attribute.key).ok_or_else(|| BadName(attribute.key.clone()))
}
