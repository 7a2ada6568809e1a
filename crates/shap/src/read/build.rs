//! From a file's nodes to a [`Tree`]: breadth-first from the root, each node once,
//! every number checked.
//!
//! Not here: how a format writes its nodes.

use super::ModelError;
use crate::{MAX_DEPTH, Missing, Node, NodeKind, Rule, Split, Tree};

/// Where a node stands in a file, for errors.
pub(super) fn place(tree: usize, node: impl std::fmt::Display) -> String {
    format!("tree {tree}, {node}")
}

/// A tree of `count` nodes, of which `deleted` are unused. `node` gives each as the file
/// has it, children as the file's indices; `name` says what the file calls it.
pub(super) fn tree(
    tree: usize,
    (count, deleted): (usize, usize),
    node: impl Fn(usize) -> Result<Node, ModelError>,
    name: impl Fn(usize) -> String,
) -> Result<Tree, ModelError> {
    let broken = |index: usize, reason: String| Err(ModelError::broken(place(tree, name(index)), reason));
    let mut seen = vec![false; count];
    seen[0] = true;
    let mut queue = vec![(0, 0)];
    let mut nodes = Vec::new();
    // The queue is never shortened: its length is the index that the next child gets.
    while let Some(&(index, depth)) = queue.get(nodes.len()) {
        let mut found = node(index)?;
        if let Some(reason) = fault(&found) {
            return broken(index, reason);
        }
        if let NodeKind::Split(split) = &mut found.kind {
            if depth == MAX_DEPTH {
                return broken(index, format!("a path of more than {MAX_DEPTH} splits"));
            }
            for child in [&mut split.left, &mut split.right] {
                match seen.get_mut(*child) {
                    None => return broken(index, "its child is outside the tree".to_owned()),
                    Some(true) => {
                        return broken(index, format!("its child, {}, has another parent already", name(*child)));
                    }
                    Some(unseen) => *unseen = true,
                }
                queue.push((*child, depth + 1));
                *child = queue.len() - 1;
            }
        }
        nodes.push(found);
    }
    let lost = count - nodes.len();
    if lost != deleted {
        let reason = format!("no split leads to {lost} of its {count} nodes ({deleted} are said to be unused)");
        return Err(ModelError::broken(format!("tree {tree}"), reason));
    }
    nodes.shrink_to_fit();
    Ok(Tree { nodes })
}

/// What no node may have in it.
fn fault(node: &Node) -> Option<String> {
    if !node.cover.is_finite() || node.cover < 0.0 {
        return Some(format!("{} is no weight of training data", node.cover));
    }
    match &node.kind {
        NodeKind::Leaf { value } if !value.is_finite() => Some(format!("its value is {value}")),
        NodeKind::Split(Split { rule: Rule::Less(threshold) | Rule::LessOrEqual(threshold), .. })
            if threshold.is_nan() =>
        {
            Some("its threshold is NaN".to_owned())
        }
        _ => None,
    }
}

/// A split whose children are the file's indices. A negative child wraps to an index
/// outside of any tree.
pub(super) fn split(
    feature: usize,
    rule: Rule,
    (missing, missing_left): (Missing, bool),
    children: [usize; 2],
) -> NodeKind {
    let [left, right] = children;
    NodeKind::Split(Split { feature, rule, missing, missing_left, left, right })
}
