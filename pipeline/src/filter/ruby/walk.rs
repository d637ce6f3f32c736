//! Questions about trees of Ruby: what they set, what they mention.

use std::collections::HashMap;

use super::tree::{Node, Statement};

/// Calls `visit` for each node and what is in it, blocks of calls only with `blocks`.
fn visit(node: &Node, blocks: bool, each: &mut dyn FnMut(&Node)) {
    each(node);
    let list = |statements: &[Statement], each: &mut dyn FnMut(&Node)| {
        for statement in statements {
            visit(&statement.node, blocks, each);
        }
    };
    match node {
        Node::Joined(nodes) | Node::Array(nodes) => {
            for node in nodes {
                visit(node, blocks, each);
            }
        }
        Node::Hash(pairs) => {
            for (key, value) in pairs {
                visit(key, blocks, each);
                visit(value, blocks, each);
            }
        }
        Node::Call(call) => {
            for node in call.receiver.iter().chain(&call.arguments) {
                visit(node, blocks, each);
            }
            if let Some(block) = call.block.as_ref().filter(|_| blocks) {
                list(&block.body, each);
            }
        }
        Node::Index(node, keys) => {
            visit(node, blocks, each);
            for key in keys {
                visit(key, blocks, each);
            }
        }
        Node::Not(node) | Node::Negative(node) => visit(node, blocks, each),
        Node::And(left, right)
        | Node::Or(left, right)
        | Node::Binary(_, left, right)
        | Node::Range(left, right, _)
        | Node::Assign(left, _, right) => {
            visit(left, blocks, each);
            visit(right, blocks, each);
        }
        Node::If(condition, then, otherwise) => {
            visit(condition, blocks, each);
            list(then, each);
            list(otherwise, each);
        }
        Node::While(condition, body) => {
            visit(condition, blocks, each);
            list(body, each);
        }
        Node::Case(subject, cases, otherwise) => {
            visit(subject, blocks, each);
            for (values, body) in cases {
                for value in values {
                    visit(value, blocks, each);
                }
                list(body, each);
            }
            list(otherwise, each);
        }
        Node::Rescue(body, _, otherwise) => {
            list(body, each);
            list(otherwise, each);
        }
        Node::Return(Some(value)) => visit(value, blocks, each),
        _ => {}
    }
}

/// Variables that these statements set outside of blocks, in order.
pub(super) fn assigned_names(statements: &[Statement], names: &mut Vec<String>) {
    for statement in statements {
        visit(&statement.node, false, &mut |node| {
            if let Node::Assign(target, ..) = node
                && let Node::Name(name) = &**target
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        });
    }
}

pub(super) fn count_assignments(statements: &[Statement], counts: &mut HashMap<String, usize>) {
    for statement in statements {
        visit(&statement.node, true, &mut |node| {
            if let Node::Assign(target, ..) = node
                && let Node::Name(name) = &**target
            {
                *counts.entry(name.clone()).or_default() += 1;
            }
            if let Node::Binary("<<", target, _) = node
                && let Node::Name(name) = &**target
            {
                *counts.entry(name.clone()).or_default() += 1;
            }
        });
    }
}

pub(super) fn mentions(node: &Node, name: &str) -> bool {
    let mut found = false;
    visit(node, true, &mut |node| {
        found |= matches!(node, Node::Name(each) if each == name);
    });
    found
}

/// Whether a statement leaves what is around it.
pub(super) fn leaves(node: &Node) -> bool {
    let mut found = false;
    visit(node, false, &mut |node| {
        found |= matches!(node, Node::Return(_) | Node::Next | Node::Break);
    });
    found
}
