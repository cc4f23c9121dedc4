//! Whatever is in any row, looked into and written anew: redaction, and fields that nobody knows.

use super::{
    Action, Batch, Edited, Pattern, encode,
    known::without_unknown_fields,
    place::Shape,
    redact::{KeyRedactor, Redactor},
    words::{Level, Redaction, Selection},
};
use crate::{Signal, schema::Message};

impl Batch {
    /// Replaces matches in all the texts of the batch; gives how many matches each redaction had.
    pub fn redact(&mut self, redactions: &[Redaction], selection: &Selection) -> Edited<Vec<u64>> {
        self.settle()?;
        let counts = vec![0; redactions.len()];
        let mut redactor = Redactor::new(redactions, selection, counts, self.turn.meter(&self.store));
        let rewritten = self.rewrite(&mut |message, content, except| {
            // Most rows hold nothing of what every match has.
            if !redactor.turn_to(message, content)? {
                return Ok(None);
            }
            redactor.message(message, content, except)
        });
        self.finished(rewritten)?;
        Ok(redactor.counts)
    }

    /// Puts an action into effect on whole values, wherever their key matches; gives how many there were.
    pub fn redact_keys(&mut self, keys: &Pattern, action: &Action) -> Edited<u64> {
        self.settle()?;
        let mut redactor = KeyRedactor { keys, action, count: 0, meter: self.turn.meter(&self.store) };
        let rewritten = self.rewrite(&mut |message, content, except| {
            redactor.meter.clock.work(content.len())?;
            match keys.may_match_within(content) {
                true => redactor.message(message, content, except, 0),
                false => Ok(None),
            }
        });
        self.finished(rewritten)?;
        Ok(redactor.count)
    }

    /// Removes fields that are not known, those that a translation left out included; gives how many there
    /// were.
    pub fn remove_unknown_fields(&mut self) -> Edited<u64> {
        self.settle()?;
        let mut count = 0;
        let rewritten = self.rewrite(&mut |message, content, except| {
            without_unknown_fields(message, content, except, &mut count, 0)
        });
        self.finished(rewritten)?;
        if !self.tables.known_only {
            let outside =
                self.left_out + encode::unknown_outside_rows(self.signal, &self.store, &self.tables);
            self.tables.known_only = outside > 0;
            count += outside;
        }
        Ok(count)
    }

    /// Hands every row down to the records to a function with the message that it is; the fields that are
    /// rows themselves are not its business. What it gives back is the row from then on.
    fn rewrite(
        &mut self,
        change: &mut impl FnMut(&'static Message, &[u8], &[u32]) -> Edited<Option<Vec<u8>>>,
    ) -> Edited {
        let Some(request) = Message::request(self.signal) else { return Ok(()) };
        self.remember();
        self.empty_marked()?;
        let resource = request.below(1);
        let scope = resource.and_then(|message| message.below(2));
        let below_scope = scope.and_then(|message| message.below(2));
        let (metric, record) = match self.signal {
            Signal::Metrics => (below_scope, None),
            _ => (None, below_scope),
        };
        for (level, message) in [(Level::Resource, resource), (Level::Scope, scope), (Level::Metric, metric)]
        {
            let Some(message) = message else { continue };
            for row in 0..self.tables.rows(level).len() as u32 {
                self.turn.clock.row(0)?;
                let entry = self.tables.rows(level)[row as usize];
                if !self.is_discarded(level, row, &entry) {
                    self.rewrite_container(level, row, message, change)?;
                }
            }
        }
        for row in 0..self.tables.records.len() as u32 {
            let entry = self.tables.records[row as usize];
            if self.is_discarded(Level::Record, row, &entry) {
                continue;
            }
            self.turn.clock.row(entry.content().len())?;
            let point = || metric.and_then(|metric| metric.below(entry.variant.metric_data())?.below(1));
            let Some(message) = record.or_else(point) else { continue };
            if let Some(content) = change(message, self.store.bytes(entry.content()), &[])? {
                self.put_record(row, &entry, &content);
                self.check_bytes()?;
            }
        }
        Ok(())
    }

    fn rewrite_container(
        &mut self,
        level: Level,
        row: u32,
        message: &'static Message,
        change: &mut impl FnMut(&'static Message, &[u8], &[u32]) -> Edited<Option<Vec<u8>>>,
    ) -> Edited {
        let entry = self.row(level, row)?;
        let children = Shape::of(self.signal, level, entry.variant).children;
        // Its own fields, without the rows in between.
        let own = match self.tables.own(level, row) {
            Some(own) => self.store.bytes(own).to_vec(),
            None => {
                let content = self.store.bytes(entry.content());
                let mut own = Vec::new();
                for field in crate::wire::Fields::of(content) {
                    let field = field?;
                    if !children.contains(&field.number) {
                        own.extend_from_slice(&content[field.whole]);
                    }
                }
                own
            }
        };
        if let Some(changed) = change(message, &own, children)? {
            let own = self.store.add(&changed);
            self.tables.set_own(level, row, own);
            self.check_bytes()?;
        }
        Ok(())
    }
}
