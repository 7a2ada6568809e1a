//! The parts of XGBoost's file that matter, as they are written there. What follows
//! from the data alone (gains, parents, statistics) is passed over.
//!
//! Not here: what they mean.

use std::{collections::BTreeMap, fmt};

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
    /// The trees, under DART.
    pub(super) gbtree: Option<Inner>,
    pub(super) weight_drop: Option<Vec<f32>>,
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
    pub(super) split_conditions: Vec<f32>,
    pub(super) sum_hessian: Vec<f32>,
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
    pub(super) leaf_weights: Option<Vec<f32>>,
}

#[derive(Deserialize)]
pub(super) struct TreeParam {
    pub(super) num_nodes: String,
    pub(super) num_deleted: String,
    pub(super) size_leaf_vector: Option<String>,
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
