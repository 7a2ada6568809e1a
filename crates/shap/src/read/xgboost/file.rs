//! The parts of XGBoost's file that matter, as they are written there. What follows
//! from the data alone (gains, parents, statistics) is passed over.
//!
//! Not here: what they mean.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

#[derive(Deserialize)]
pub(super) struct File {
    pub(super) learner: Learner,
    #[serde(default)]
    pub(super) version: Vec<u32>,
}

#[derive(Deserialize)]
pub(super) struct Learner {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) feature_names: Vec<String>,
    pub(super) gradient_booster: Booster,
    pub(super) learner_model_param: LearnerParam,
    pub(super) objective: Objective,
}

#[derive(Deserialize)]
pub(super) struct LearnerParam {
    pub(super) base_score: String,
    pub(super) num_class: String,
    pub(super) num_feature: String,
    /// Since 1.6.
    pub(super) num_target: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Objective {
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Booster {
    pub(super) name: String,
    pub(super) model: Option<Model>,
    /// The trees, under DART in files of 3.2 and before.
    pub(super) gbtree: Option<Inner>,
    /// DART's, in files of 3.2 and before.
    pub(super) weight_drop: Option<Vec<Float>>,
}

#[derive(Deserialize)]
pub(super) struct Inner {
    pub(super) model: Model,
}

/// A linear model has another `model`, in which nothing of this is found.
#[derive(Deserialize)]
pub(super) struct Model {
    pub(super) gbtree_model_param: Option<ModelParam>,
    pub(super) trees: Option<Vec<RawTree>>,
    /// The output of each tree.
    pub(super) tree_info: Option<Vec<i64>>,
    /// What the leaves of each tree are multiplied by, in newer files (3.4): empty without dropout.
    pub(super) weight_drop: Option<Vec<Float>>,
    /// The first tree of each iteration, and the end. Since 2.0.
    pub(super) iteration_indptr: Option<Vec<i64>>,
}

#[derive(Deserialize)]
pub(super) struct ModelParam {
    pub(super) num_trees: String,
    pub(super) num_parallel_tree: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawTree {
    pub(super) left_children: Vec<i64>,
    pub(super) right_children: Vec<i64>,
    pub(super) split_indices: Vec<i64>,
    pub(super) split_conditions: Vec<Float>,
    pub(super) sum_hessian: Vec<Float>,
    pub(super) default_left: Vec<Flag>,
    pub(super) tree_param: TreeParam,
    /// 1 where a split is by category. This and the next four since 1.3.
    #[serde(default)]
    pub(super) split_type: Vec<u8>,
    #[serde(default)]
    pub(super) categories: Vec<i64>,
    #[serde(default)]
    pub(super) categories_nodes: Vec<i64>,
    #[serde(default)]
    pub(super) categories_segments: Vec<i64>,
    #[serde(default)]
    pub(super) categories_sizes: Vec<i64>,
    /// Of vector leaves, since 3.1.
    pub(super) leaf_weights: Option<Vec<Float>>,
}

#[derive(Deserialize)]
pub(super) struct TreeParam {
    pub(super) num_nodes: String,
    pub(super) num_deleted: String,
    pub(super) size_leaf_vector: Option<String>,
}

/// A number, or the word for one that JSON has no number for.
#[derive(Clone, Copy)]
pub(super) struct Float(pub(super) f32);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FloatVisitor)
    }
}

struct FloatVisitor;

impl de::Visitor<'_> for FloatVisitor {
    type Value = Float;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a number")
    }

    fn visit_f32<E>(self, value: f32) -> Result<Float, E> {
        Ok(Float(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Float, E> {
        Ok(Float(value as f32))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Float, E> {
        Ok(Float(value as f32))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Float, E> {
        Ok(Float(value as f32))
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Float, E> {
        match word {
            "NaN" => Ok(Float(f32::NAN)),
            "Infinity" => Ok(Float(f32::INFINITY)),
            "-Infinity" => Ok(Float(f32::NEG_INFINITY)),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }
}

/// The words of XGBoost's that JSON has not (`NaN`, `Infinity`, `-Infinity`), put in
/// quotes; the text itself where it holds none.
pub(super) fn quoted(text: &[u8]) -> Cow<'_, [u8]> {
    let mut quoted: Vec<u8> = Vec::new();
    let (mut done, mut at) = (0, 0);
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b'"' => text_len(&text[at..]),
            b'N' | b'I' | b'-' => {
                let word =
                    ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| text[at..].starts_with(word.as_bytes()));
                if let Some(word) = word {
                    quoted.extend([&text[done..at], b"\"", word.as_bytes(), b"\""].concat());
                    done = at + word.len();
                }
                word.map_or(1, str::len)
            }
            _ => 1,
        };
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    quoted.extend(&text[done..]);
    Cow::Owned(quoted)
}

/// The length of a text in quotes, with them.
fn text_len(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// `true` and `false` before 1.6, then 1 and 0.
#[derive(Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

struct FlagVisitor;

impl de::Visitor<'_> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("0, 1, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
        Ok(Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Flag, E> {
        Ok(Flag(value != 0))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Flag, E> {
        Ok(Flag(value != 0))
    }
}
