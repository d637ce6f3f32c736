//! What refers to a group: back-references, and calls that stand for what a group holds.
//!
//! Both are known by an index until the whole expression has been read; then calls are put in
//! the place of what they call, and references become numbers of groups.

use super::{
    Node,
    parser::{Shared, UNNAMED, UNRESOLVED},
};
use crate::{CompileError, matcher::Capture};

impl Shared<'_> {
    /// Puts what a group holds in the place of every `\g<…>` that calls it.
    pub(super) fn expand_calls(
        &self,
        node: &mut Node,
        whole: &Node,
        open: &mut Vec<u32>,
        left: &mut usize,
    ) -> Result<(), CompileError> {
        *left = left.checked_sub(1).ok_or_else(|| CompileError::TooLarge {
            what: "the expression with all its \\g<…>".to_owned(),
            option: "max_instructions",
            limit: self.options.max_instructions,
        })?;
        match node {
            Node::Empty | Node::Class(_) | Node::Assertion(_) => {}
            Node::Concat(nodes) | Node::Alternate(nodes) => {
                for node in nodes {
                    self.expand_calls(node, whole, open, left)?;
                }
            }
            Node::Repeat { node, .. } | Node::Look { node, .. } | Node::Atomic(node) => {
                self.expand_calls(node, whole, open, left)?;
            }
            Node::Group { group, node } => {
                open.push(*group);
                self.expand_calls(node, whole, open, left)?;
                open.pop();
            }
            Node::BackReference { groups, .. } => {
                let reference = &self.references[(groups[0] & !UNRESOLVED) as usize];
                if !reference.is_call {
                    return Ok(());
                }
                let wrong = |message: &str| CompileError::Syntax {
                    within: reference.within.clone(),
                    position: reference.position,
                    message: message.to_owned(),
                };
                let group = match &reference.name {
                    None => {
                        (reference.number <= self.unnamed).then(|| (reference.number - 1) | UNNAMED)
                    }
                    Some(name) => {
                        let of_name = |(_, capture): &(usize, &Capture)| capture.name == *name;
                        let mut groups = self.captures.iter().enumerate().filter(of_name);
                        let group = groups.next().map(|(group, _)| group as u32);
                        if groups.next().is_some() {
                            return Err(wrong("several groups have this name; \\g calls one"));
                        }
                        group
                    }
                };
                let found = group.and_then(|group| Some((group, find_group(whole, group)?)));
                let Some((group, called)) = found else {
                    return Err(wrong("this calls a group that does not exist"));
                };
                if open.contains(&group) {
                    return Err(wrong(
                        "this group calls itself; grok has no recursion, write out as many \
                         levels as there are",
                    ));
                }
                *node = called.clone();
                self.expand_calls(node, whole, open, left)?;
            }
        }
        Ok(())
    }

    /// Drops groups that nobody refers to, and turns references into group numbers.
    pub(super) fn resolve(
        &self,
        node: &mut Node,
        named: u32,
        keep: bool,
    ) -> Result<(), CompileError> {
        match node {
            Node::Empty | Node::Class(_) | Node::Assertion(_) => {}
            Node::Concat(nodes) | Node::Alternate(nodes) => {
                for node in nodes {
                    self.resolve(node, named, keep)?;
                }
            }
            Node::Repeat { node, .. } | Node::Look { node, .. } | Node::Atomic(node) => {
                self.resolve(node, named, keep)?;
            }
            Node::Group { group, node: inner } => {
                self.resolve(inner, named, keep)?;
                if *group & UNNAMED != 0 {
                    if keep {
                        *group = named + (*group & !UNNAMED);
                    } else {
                        *node = std::mem::replace(&mut **inner, Node::Empty);
                    }
                }
            }
            Node::BackReference { groups, .. } => {
                let index = (groups[0] & !UNRESOLVED) as usize;
                let reference = &self.references[index];
                *groups = match &reference.name {
                    Some(name) => (0..named)
                        .filter(|group| self.captures[*group as usize].name == *name)
                        .collect(),
                    None => (reference.number..=self.unnamed)
                        .take(1)
                        .map(|number| named + number - 1)
                        .collect(),
                };
                if groups.is_empty() {
                    return Err(CompileError::Syntax {
                        within: reference.within.clone(),
                        position: reference.position,
                        message: "this refers to a group that does not exist".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The group of a number, with its opening and closing.
fn find_group(node: &Node, wanted: u32) -> Option<&Node> {
    match node {
        Node::Group { group, .. } if *group == wanted => Some(node),
        Node::Empty | Node::Class(_) | Node::Assertion(_) | Node::BackReference { .. } => None,
        Node::Concat(nodes) | Node::Alternate(nodes) => {
            nodes.iter().find_map(|node| find_group(node, wanted))
        }
        Node::Repeat { node, .. }
        | Node::Look { node, .. }
        | Node::Atomic(node)
        | Node::Group { node, .. } => find_group(node, wanted),
    }
}
