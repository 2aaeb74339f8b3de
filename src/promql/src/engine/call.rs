//! Function calls that give vectors.

use trireme_model::Labels;

use super::block::Block;
use super::eval::{Evaluator, hints, unexpected};
use super::labels::METADATA;
use super::row::{Cell, Meta, Row, Tag};
use super::scalar::Scalar;
use super::selector::Field;
use super::stream::{Rows, Stream, Worker};
use crate::annotations as notes;
use crate::ast::{Call, Expr, ValueType, VectorSelector};
use crate::error::QueryError;
use crate::functions::native::{self, HistogramFunction};
use crate::functions::range::{ANCHORED, RangeFunction, SMOOTHED, range_function};
use crate::functions::time::{DatePart, date_part, of_float};
use crate::functions::{integral, math, sort};

impl<'q> Evaluator<'q> {
    /// A function whose result is an instant vector.
    pub(super) fn call(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let this = Self {
            stats: self.stats.inside(call.func.name),
            ..*self
        };
        this.dispatch(call)
    }

    fn dispatch(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let name = call.func.name;
        if let Some(function) = range_function(name) {
            return self.call_over_range(call, function);
        }
        if let Some(function) = math::float_function(name) {
            let stream = self.first_vector(call)?;
            return self.map_floats(stream, move |v, _| function(v));
        }

        if let Some(function) = native::histogram_function(name) {
            return self.map_histograms(self.first_vector(call)?, function);
        }
        if let Some(part) = date_part(name) {
            return self.date_call(call, part);
        }

        match name {
            "round" | "clamp" | "clamp_min" | "clamp_max" => self.bounded(call),
            "timestamp" => self.timestamp(call),
            "start_timestamp" => self.start_timestamp(call),
            "vector" => {
                let value = self.scalar(argument(call, 0)?)?;
                Ok(self.vector_of_scalar(value))
            }
            "absent" => self.absent(call),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(call),
            "label_replace" => self.label_replace(call),
            "label_join" => self.label_join(call),
            "info" => self.info(call),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.histogram_call(call)
            }
            _ => Err(QueryError::Internal(format!(
                "BUG: function {name} is not implemented"
            ))),
        }
    }

    /// The first argument, an instant vector.
    pub(super) fn first_vector(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        self.vector(argument(call, 0)?, hints(call.func.name))
    }

    /// A vector with one series without labels.
    pub(super) fn vector_of_scalar(&self, value: Scalar) -> Stream<'q> {
        struct Numbers(Scalar);
        impl Rows for Numbers {
            fn fill(&self, _: usize, _: &mut Worker, row: &mut Row) -> Result<(), QueryError> {
                for step in 0..row.steps() {
                    row.set_float(step, self.0.at(step));
                }
                Ok(())
            }
        }

        let metas = vec![Meta::new(Labels::empty())];
        Stream::new(metas, self.steps.count, Box::new(Numbers(value)))
    }

    /// Applies a function of value and step to each float; histograms are left out.
    fn map_floats(
        &self,
        stream: Stream<'q>,
        f: impl Fn(f64, usize) -> f64 + Send + Sync + 'q,
    ) -> Result<Stream<'q>, QueryError> {
        let mapped = stream.map(move |_, row, _| {
            row.drop_histograms();
            for step in 0..row.steps() {
                if let Cell::Float(v) = row.cell(step) {
                    row.set_float(step, f(v, step));
                }
            }
            Ok(())
        });
        mapped.drop_names(self.query)
    }

    /// Applies a function to all histograms; floats are left out.
    fn map_histograms(
        &self,
        stream: Stream<'q>,
        function: HistogramFunction,
    ) -> Result<Stream<'q>, QueryError> {
        let mapped = stream.map(move |_, row, _| {
            for step in 0..row.steps() {
                match row.cell(step) {
                    Cell::Histogram(h) => {
                        let v = function(h);
                        row.set_float(step, v);
                    }
                    _ => row.clear(step),
                }
            }
            Ok(())
        });
        mapped.drop_names(self.query)
    }

    /// A part of the date of each value, or of the time of the step.
    fn date_call(&self, call: &'q Call, part: DatePart) -> Result<Stream<'q>, QueryError> {
        if call.args.is_empty() {
            let values = (0..self.steps.count)
                .map(|i| part(self.steps.time(i) / 1000))
                .collect();
            return Ok(self.vector_of_scalar(Scalar::PerStep(values)));
        }
        let stream = self.first_vector(call)?;
        self.map_floats(stream, move |v, _| of_float(part, v))
    }

    fn bounded(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let stream = self.first_vector(call)?;
        let second = call.args.get(1).map(|arg| self.scalar(arg)).transpose()?;
        let third = call.args.get(2).map(|arg| self.scalar(arg)).transpose()?;
        if call.func.name == "round" {
            let to = second.unwrap_or(Scalar::Constant(1.0));
            return self.map_floats(stream, move |v, step| math::round(v, to.at(step)));
        }

        let (min, max) = bounds(call.func.name, second, third)
            .ok_or_else(|| QueryError::Internal("BUG: an argument is missing".to_owned()))?;

        let empty = (0..self.steps.count)
            .map(|i| max.at(i) < min.at(i))
            .collect::<Vec<_>>();
        let clamped = self.map_floats(stream, move |v, step| {
            math::max(min.at(step), math::min(max.at(step), v))
        })?;

        Ok(clamped.map(move |_, row, _| {
            (0..row.steps())
                .filter(|i| empty[*i])
                .for_each(|i| row.clear(i));
            Ok(())
        }))
    }

    fn timestamp(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        if let Some(selector) = plain_selector(argument(call, 0)?) {
            let stream =
                self.instant_selector(selector, Field::Timestamp, hints(call.func.name))?;
            return stream.drop_names(self.query);
        }

        let steps = self.steps;
        let stream = self.first_vector(call)?.map(move |_, row, _| {
            for step in 0..row.steps() {
                if row.tag(step) != Tag::Empty {
                    row.set_float(step, steps.time(step) as f64 / 1000.0);
                }
            }
            Ok(())
        });

        stream.drop_names(self.query)
    }

    fn start_timestamp(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        match plain_selector(argument(call, 0)?) {
            Some(selector) if self.query.options.start_timestamps => {
                let stream =
                    self.instant_selector(selector, Field::StartTimestamp, hints(call.func.name))?;
                stream.drop_names(self.query)
            }
            // Start timestamps do not pass through expressions.
            _ => Ok(Stream::empty(self.steps.count)),
        }
    }

    fn absent(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let stream = self.first_vector(call)?;
        self.where_absent(stream, argument(call, 0)?)
    }

    /// 1 at the steps at which no series has a sample.
    fn where_absent(&self, stream: Stream<'q>, arg: &Expr) -> Result<Stream<'q>, QueryError> {
        let mut row = Row::empty(stream.steps);
        (0..stream.steps).for_each(|step| row.set_float(step, 1.0));
        stream.for_each(self.query, |_, found| {
            for step in (0..found.steps()).filter(|i| found.tag(*i) != Tag::Empty) {
                row.clear(step);
            }
            Ok(())
        })?;

        let mut out = Block::new(stream.steps);
        if !row.is_empty() {
            out.push(Meta::new(labels_of_absent(arg)), row);
        }

        Ok(out.into_stream())
    }

    fn call_over_range(
        &self,
        call: &'q Call,
        function: RangeFunction,
    ) -> Result<Stream<'q>, QueryError> {
        let name = call.func.name;
        let at = call.args.iter().position(is_range);
        let at = at.ok_or_else(|| unexpected("a range", &call.args[0]))?;

        if let Expr::Matrix(m) = call.args[at].unwrap_parens() {
            if m.selector.anchored {
                check_modifier("anchored", &ANCHORED, name)?;
            } else if m.selector.smoothed {
                check_modifier("smoothed", &SMOOTHED, name)?;
            }
        }

        let range = self.range(&call.args[at], hints(name))?;
        let mut others = call.args.iter().filter(|arg| !is_range(arg));
        let mut scalars = others
            .clone()
            .map(|arg| self.scalar(arg))
            .collect::<Result<Vec<_>, _>>()?;

        if name == "integral" && scalars.is_empty() {
            scalars.push(Scalar::Constant(integral::STRATEGY_DEFAULT));
        }

        let pos = call.args[0].pos();
        let scalar_pos = others.next_back().map_or(pos, Expr::pos);
        let stream = self.range_function(range, name, function, scalars, (pos, scalar_pos))?;
        if name == "absent_over_time" {
            return self.where_absent(stream, &call.args[at]);
        }

        Ok(stream)
    }

    fn sort(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let name = call.func.name;
        let by_label = name.starts_with("sort_by_label");
        let mut stream = self.first_vector(call)?;
        if !by_label {
            stream = stream.map(|_, row, _| {
                row.drop_histograms();
                Ok(())
            });
        }

        if self.steps.count > 1 {
            self.query.note(notes::sort_in_range_query(call.pos));
            return Ok(stream);
        }

        let labels = call.args[1..]
            .iter()
            .map(string)
            .collect::<Result<Vec<_>, _>>()?;
        let descending = name.ends_with("_desc");
        let mut block = stream.collect(self.query)?;
        let rows = std::mem::take(&mut block.rows);
        let metas = std::mem::take(&mut block.metas);
        let mut rows: Vec<_> = metas.into_iter().zip(rows).collect();

        if by_label {
            rows.sort_by(|(a, _), (b, _)| {
                let order = sort::by_labels(&a.labels, &b.labels, &labels);
                if descending { order.reverse() } else { order }
            });
        } else {
            rows.sort_by(|(_, a), (_, b)| sort::by_value(first(a), first(b), descending));
        }

        for (meta, row) in rows {
            block.push(meta, row);
        }

        Ok(block.into_stream())
    }
}

/// The bounds of `clamp`, `clamp_min` and `clamp_max`.
fn bounds(name: &str, second: Option<Scalar>, third: Option<Scalar>) -> Option<(Scalar, Scalar)> {
    let infinite = Scalar::Constant(f64::INFINITY);
    match (name, second, third) {
        ("clamp_min", Some(min), _) => Some((min, infinite)),
        ("clamp_max", Some(max), _) => Some((infinite.map(|v| -v), max)),
        (_, Some(min), Some(max)) => Some((min, max)),
        _ => None,
    }
}

fn is_range(arg: &Expr) -> bool {
    arg.value_type() == ValueType::Matrix
}

fn check_modifier(modifier: &str, allowed: &[&str], name: &str) -> Result<(), QueryError> {
    if allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(QueryError::execution(format!(
        "{modifier} modifier can only be used with: {allowed} - not with {name}"
    )))
}

/// The float at the first step.
fn first(row: &Row) -> f64 {
    match row.cell(0) {
        Cell::Float(v) => v,
        _ => f64::NAN,
    }
}

/// An argument that the parser has made sure of.
pub(super) fn argument(call: &Call, at: usize) -> Result<&Expr, QueryError> {
    call.args
        .get(at)
        .ok_or_else(|| QueryError::Internal(format!("BUG: {} lacks an argument", call.func.name)))
}

/// The text of a string argument.
pub(super) fn string(expr: &Expr) -> Result<&str, QueryError> {
    match expr.unwrap_parens() {
        Expr::String(s) => s.text().map_err(|e| QueryError::execution(e.to_string())),
        other => Err(unexpected("a string", other)),
    }
}

fn plain_selector(expr: &Expr) -> Option<&VectorSelector> {
    match expr.unwrap_parens() {
        Expr::Vector(selector) => Some(selector),
        _ => None,
    }
}

/// The labels that a series would certainly have had: those that a selector asks for by equality, once.
fn labels_of_absent(expr: &Expr) -> Labels {
    let selector = match expr.unwrap_parens() {
        Expr::Vector(selector) => selector,
        Expr::Matrix(m) => &m.selector,
        _ => return Labels::empty(),
    };

    let mut builder = trireme_model::LabelsBuilder::default();

    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector
        .matchers
        .iter()
        .filter(|m| !METADATA.contains(&&*m.name))
    {
        let is_equal = matcher.op == trireme_model::MatchOp::Equal;
        if is_equal && !seen.contains(&&*matcher.name) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.del(&matcher.name);
        }
    }

    builder.finish()
}
