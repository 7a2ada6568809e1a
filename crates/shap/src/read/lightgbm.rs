//! LightGBM's models, as `save_model` writes them: `key=value` lines, a header and
//! then the trees one by one. The start score is in the leaves of the first trees,
//! shrinkage and DART's weights are in all.
//!
//! A node's cover is a count of rows (`internal_count`, `leaf_count`). At a split by
//! category the listed ones go left; what is missing or unknown goes right. After early
//! stopping the file holds the best iteration's trees and no others.
//!
//! Not here: the shape of trees (`build`).

use std::{collections::BTreeMap, str::FromStr};

use super::{MAX_FEATURES, MAX_OUTPUTS, ModelError, bounded, build};
use crate::{Ensemble, Missing, Node, NodeKind, Origin, OutputTree, Precision, Rule, Tree};

/// The lines that matter; others are passed over.
const KEYS: [&str; 21] = [
    "version",
    "num_class",
    "num_tree_per_iteration",
    "max_feature_idx",
    "objective",
    "average_output",
    "feature_names",
    "tree_sizes",
    "num_leaves",
    "num_cat",
    "split_feature",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_count",
    "internal_count",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
];

/// Bits of a `decision_type`. The two above them are what counts as missing.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

/// Bitmaps hold categories below 2^31, the largest that LightGBM's `int` can be.
const MAX_CATEGORY_WORDS: usize = 1 << 26;

pub(super) fn read(bytes: &[u8]) -> Result<Ensemble, ModelError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ModelError::broken(format!("byte {}", error.valid_up_to()), "it is no text in UTF-8".to_owned())
    })?;
    let mut lines = text.lines();
    let mut header = Section::read("header".to_owned(), &mut lines)?;
    let outputs = match header.values.get("num_tree_per_iteration") {
        Some(_) => header.number("num_tree_per_iteration")?,
        None => header.number("num_class")?,
    };
    bounded("trees an iteration", outputs, MAX_OUTPUTS)?;
    let last: usize = header.number("max_feature_idx")?;
    let columns = bounded("features", last.saturating_add(1), MAX_FEATURES)?;
    let features: Vec<String> = header.text("feature_names")?.split(' ').map(str::to_owned).collect();
    if features.len() != columns {
        let reason = format!("{} names, and `max_feature_idx` is {last}", features.len());
        return Err(ModelError::broken("feature_names", reason));
    }

    let mut trees = Vec::new();
    let mut next = header.next.take();
    while let Some(number) = next {
        if number.parse() != Ok(trees.len()) {
            let reason = format!("tree {} should follow, not `{}`", trees.len(), number.escape_debug());
            return Err(ModelError::broken(format!("tree {}", trees.len()), reason));
        }
        let mut section = Section::read(format!("tree {}", trees.len()), &mut lines)?;
        let tree = tree(trees.len(), &section, columns)?;
        trees.push(OutputTree { output: trees.len() % outputs, tree });
        next = section.next.take();
    }
    let said = header.values.get("tree_sizes").map_or(trees.len(), |sizes| sizes.split_ascii_whitespace().count());
    if said != trees.len() || !trees.len().is_multiple_of(outputs) {
        let reason = format!("there are {} trees, the header has {said}, {outputs} an iteration", trees.len());
        return Err(ModelError::broken("tree_sizes", reason));
    }
    let iterations = trees.len() / outputs;
    Ok(Ensemble {
        features,
        base_margins: vec![0.0; outputs],
        trees,
        precision: Precision::Double,
        objective: header.values.get("objective").unwrap_or(&"").to_string(),
        origin: Origin {
            library: "LightGBM".to_owned(),
            version: header.values.get("version").unwrap_or(&"").to_string(),
            left_out_trees: 0,
        },
        averaged_over: (header.values.contains_key("average_output") && iterations > 0).then_some(iterations),
    })
}

/// The lines of the header or of a tree.
struct Section<'a> {
    /// For errors.
    place: String,
    values: BTreeMap<&'static str, &'a str>,
    /// The number of the tree that follows, if one does.
    next: Option<&'a str>,
}

impl<'a> Section<'a> {
    /// Reads until the next tree begins or the trees end.
    fn read(place: String, lines: &mut std::str::Lines<'a>) -> Result<Self, ModelError> {
        let mut section = Self { place, values: BTreeMap::new(), next: None };
        for line in lines {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            match key.trim_end() {
                "Tree" => {
                    section.next = Some(value.trim());
                    return Ok(section);
                }
                "end of trees" => return Ok(section),
                key => {
                    if let Some(key) = KEYS.iter().find(|known| **known == key)
                        && section.values.insert(key, value.trim()).is_some()
                    {
                        return Err(section.broken(key, "it is there twice"));
                    }
                }
            }
        }
        Err(section.broken("end of trees", "this line is missing: the file was cut off"))
    }

    fn broken(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::broken(format!("{}, {key}", self.place), reason)
    }

    fn text(&self, key: &str) -> Result<&'a str, ModelError> {
        self.values.get(key).copied().ok_or_else(|| self.broken(key, "it is missing"))
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<T, ModelError> {
        let text = self.text(key)?;
        text.parse().map_err(|_| self.broken(key, format!("`{}` is no such number", text.escape_debug())))
    }

    /// A list of so many numbers.
    fn numbers<T: FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, ModelError> {
        let mut numbers = Vec::new();
        for (nth, text) in self.text(key)?.split_ascii_whitespace().enumerate() {
            let number = text.parse();
            numbers.push(
                number
                    .map_err(|_| self.broken(key, format!("`{}` at {nth} is no such number", text.escape_debug())))?,
            );
        }
        if numbers.len() != count {
            return Err(self.broken(key, format!("{} numbers; {count} should be there", numbers.len())));
        }
        Ok(numbers)
    }
}

fn tree(nth: usize, section: &Section<'_>, columns: usize) -> Result<Tree, ModelError> {
    if section.values.get("is_linear").is_some_and(|value| *value != "0") {
        return Err(ModelError::Refused(format!("the leaves of tree {nth} are linear functions (`linear_tree`)")));
    }
    let leaves: usize = section.number("num_leaves")?;
    if leaves == 0 {
        return Err(section.broken("num_leaves", "a tree has one at least"));
    }
    let values: Vec<f64> = section.numbers("leaf_value", leaves)?;
    if leaves == 1 {
        let leaf = |_| Ok(Node { cover: 1.0, kind: NodeKind::Leaf { value: values[0] } });
        return build::tree(nth, (1, 0), leaf, |_| "leaf 0".to_owned());
    }
    let splits = leaves - 1;
    let leaf_counts: Vec<f64> = section.numbers("leaf_count", leaves)?;
    let counts: Vec<f64> = section.numbers("internal_count", splits)?;
    let features: Vec<i64> = section.numbers("split_feature", splits)?;
    let thresholds: Vec<f64> = section.numbers("threshold", splits)?;
    let decisions: Vec<u8> = section.numbers("decision_type", splits)?;
    let lefts: Vec<i64> = section.numbers("left_child", splits)?;
    let rights: Vec<i64> = section.numbers("right_child", splits)?;
    let sets = categories(section, nth, &decisions, &thresholds)?;
    let name = |node: usize| match node.checked_sub(splits) {
        None => format!("node {node}"),
        Some(leaf) => format!("leaf {leaf}"),
    };
    // A leaf is written as the complement of its index.
    let child = |child: i64| match usize::try_from(child) {
        Ok(split) if split >= splits => usize::MAX,
        Ok(split) => split,
        Err(_) => usize::try_from(!child).unwrap_or(usize::MAX).saturating_add(splits),
    };
    let node = |node: usize| {
        if let Some(leaf) = node.checked_sub(splits) {
            return Ok(Node { cover: leaf_counts[leaf], kind: NodeKind::Leaf { value: values[leaf] } });
        }
        let broken = |reason| Err(ModelError::broken(build::place(nth, name(node)), reason));
        let feature = usize::try_from(features[node]).unwrap_or(usize::MAX);
        if feature >= columns {
            return broken(format!("it splits on feature {}, and there are {columns}", features[node]));
        }
        let missing = match decisions[node] >> 2 {
            _ if sets[node].is_some() => Missing::None,
            0 => Missing::None,
            1 => Missing::Zero,
            2 => Missing::Nan,
            _ => return broken(format!("its decision type {} is unknown", decisions[node])),
        };
        let missing_left = decisions[node] & DEFAULT_LEFT != 0;
        let rule = match &sets[node] {
            Some(set) => Rule::Categories { set: set.clone(), member_left: true },
            None => Rule::LessOrEqual(thresholds[node]),
        };
        let children = [child(lefts[node]), child(rights[node])];
        Ok(Node { cover: counts[node], kind: build::split(feature, rule, (missing, missing_left), children) })
    };
    build::tree(nth, (splits + leaves, 0), node, name)
}

/// The set of each split by category: a bitmap, whose number among the tree's stands
/// where others have their threshold. Each is one split's, so that what comes out is
/// no longer than what was in the file.
fn categories(
    section: &Section<'_>,
    nth: usize,
    decisions: &[u8],
    thresholds: &[f64],
) -> Result<Vec<Option<Box<[u32]>>>, ModelError> {
    let mut sets = vec![None; decisions.len()];
    let of_category = |node: &usize| decisions[*node] & CATEGORICAL != 0;
    let count: usize = section.number("num_cat")?;
    let nodes: Vec<usize> = (0..decisions.len()).filter(of_category).collect();
    if count != nodes.len() {
        return Err(section.broken("num_cat", format!("it is {count}, and {} splits are by category", nodes.len())));
    }
    if count == 0 {
        return Ok(sets);
    }
    let bounds: Vec<usize> = section.numbers("cat_boundaries", count + 1)?;
    let words: Vec<u32> = section.numbers("cat_threshold", bounds[count])?;
    if words.len() > MAX_CATEGORY_WORDS {
        return Err(section.broken("cat_threshold", format!("{} numbers; no category is so large", words.len())));
    }
    let mut used = vec![false; count];
    for node in nodes {
        let broken = |reason| Err(ModelError::broken(build::place(nth, format!("node {node}")), reason));
        let threshold = thresholds[node];
        if !(0.0..count as f64).contains(&threshold) || threshold.fract() > 0.0 {
            return broken(format!("its set of categories, {threshold}, is none of {count}"));
        }
        let set = threshold as usize;
        if std::mem::replace(&mut used[set], true) {
            return broken(format!("its set of categories, {set}, is another split's"));
        }
        let Some(words) = words.get(bounds[set]..bounds[set + 1]) else {
            return broken(format!("its set of categories, {set}, has no such stretch in the list"));
        };
        let members = (0_u32..).zip(words).flat_map(|(at, word)| {
            (0..u32::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * u32::BITS + bit)
        });
        sets[node] = Some(members.collect());
    }
    Ok(sets)
}
