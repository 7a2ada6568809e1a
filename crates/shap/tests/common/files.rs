//! Small model files made by hand, to be broken.
//!
//! Not here: what is broken in them.

use serde_json::{Value, json};

/// Two trees of XGBoost over three features: one splits twice, once by category.
pub(crate) fn xgboost() -> Value {
    json!({
        "version": [3, 2, 0],
        "learner": {
            "attributes": {},
            "feature_names": ["a", "b", "c"],
            "feature_types": ["float", "float", "c"],
            "learner_model_param":
                {"base_score": "[5E-1]", "num_class": "0", "num_feature": "3", "num_target": "1"},
            "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
            "gradient_booster": {
                "name": "gbtree",
                "model": {
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "2"},
                    "iteration_indptr": [0, 1, 2],
                    "tree_info": [0, 0],
                    "trees": [
                        {
                            "left_children": [1, -1, 3, -1, -1], "right_children": [2, -1, 4, -1, -1],
                            "split_indices": [0, 0, 2, 0, 0], "split_conditions": [0.5, -1.0, 0.0, 2.0, 3.0],
                            "sum_hessian": [10.0, 4.0, 6.0, 1.0, 5.0], "default_left": [1, 0, 0, 0, 0],
                            "split_type": [0, 0, 1, 0, 0], "categories": [1, 4], "categories_nodes": [2],
                            "categories_segments": [0], "categories_sizes": [2], "base_weights": [0.0],
                            "tree_param": {"num_nodes": "5", "num_deleted": "0", "size_leaf_vector": "1"}
                        },
                        {
                            "left_children": [-1], "right_children": [-1], "split_indices": [0],
                            "split_conditions": [0.25], "sum_hessian": [10.0], "default_left": [0],
                            "split_type": [0], "categories": [], "categories_nodes": [],
                            "categories_segments": [], "categories_sizes": [],
                            "tree_param": {"num_nodes": "1", "num_deleted": "0", "size_leaf_vector": "1"}
                        }
                    ]
                }
            }
        }
    })
}

/// The same as UBJSON: whole numbers as `L`, others as `d`, arrays with a count.
pub(crate) fn ubjson(value: &Value) -> Vec<u8> {
    let text = |text: &str| [b"L", (text.len() as u64).to_be_bytes().as_slice(), text.as_bytes()].concat();
    match value {
        Value::Null => b"Z".to_vec(),
        Value::Bool(value) => vec![if *value { b'T' } else { b'F' }],
        Value::Number(number) => match number.as_i64() {
            Some(whole) => [b"L".as_slice(), &whole.to_be_bytes()].concat(),
            None => [b"d".as_slice(), &(number.as_f64().unwrap() as f32).to_be_bytes()].concat(),
        },
        Value::String(value) => [b"S".to_vec(), text(value)].concat(),
        Value::Array(values) => {
            let count = (values.len() as u64).to_be_bytes();
            let values: Vec<u8> = values.iter().flat_map(ubjson).collect();
            [b"[#L".as_slice(), &count, &values].concat()
        }
        Value::Object(fields) => {
            let fields: Vec<u8> = fields.iter().flat_map(|(key, value)| [text(key), ubjson(value)].concat()).collect();
            [b"{", fields.as_slice(), b"}"].concat()
        }
    }
}

/// Two trees of LightGBM over three features: one splits twice, once by category.
pub(crate) const LIGHTGBM: &str = "tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=2
objective=binary sigmoid:1
feature_names=a b c
feature_infos=[0:1] [0:1] 0:1:2:4
tree_sizes=300 100

Tree=0
num_leaves=3
num_cat=1
split_feature=0 2
split_gain=1 1
threshold=0.5 0
decision_type=10 1
left_child=-1 -2
right_child=1 -3
leaf_value=-1 2 3
leaf_weight=4 1 5
leaf_count=4 1 5
internal_value=0 0
internal_weight=10 6
internal_count=10 6
cat_boundaries=0 1
cat_threshold=18
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
split_feature=
split_gain=
threshold=
decision_type=
left_child=
right_child=
leaf_value=0.25
leaf_weight=
leaf_count=
internal_value=
internal_weight=
internal_count=
is_linear=0
shrinkage=1


end of trees

feature_importances:
a=1
c=1

parameters:
[boosting: gbdt]
end of parameters

pandas_categorical:null
";
