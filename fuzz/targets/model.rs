//! Model files of XGBoost and LightGBM: each is refused, or gives trees that any row
//! has a margin in and that can be explained.
//!
//! Not here: what models say (the tests of `tapedeck-shap`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapedeck_fuzz::seed;
use tapedeck_shap::{Ensemble, Trees};

fuzz_target!(
    init: seed([JSON.as_bytes(), DART, LIGHTGBM.as_bytes(), FOREST.as_bytes()]),
    |input: &[u8]| {
        let Ok(ensemble) = Ensemble::read_trees(input, Trees::All) else { return };
        let facts = ensemble.facts();
        assert!(facts.depth <= tapedeck_shap::MAX_DEPTH);
        assert!(facts.used_features.iter().all(|feature| *feature < facts.features));
        assert!(facts.nodes <= input.len(), "{} nodes in {} bytes", facts.nodes, input.len());
        let best = Ensemble::read(input).expect("it was read before");
        assert_eq!(best.trees.len() + best.origin.left_out_trees, ensemble.trees.len());

        let mut margins = vec![0.0; ensemble.outputs()];
        for value in [f64::NAN, 0.0, -1e-36, 0.5, 4.0, 1e9] {
            let row = vec![value; ensemble.features.len()];
            ensemble.margins(&row, &mut margins).expect("the row is as wide as the model");
            assert!(margins.iter().all(|margin| !margin.is_nan()), "{margins:?}");
        }
        assert!(ensemble.margins(&vec![f64::INFINITY; ensemble.features.len()], &mut margins).is_err());
    }
);

const JSON: &str = r#"{"learner":{"attributes":{"best_iteration":"0"},"feature_names":["a","b"],"gradient_booster":{"model":{"gbtree_model_param":{"num_parallel_tree":"1","num_trees":"2"},"iteration_indptr":[0,1,2],"tree_info":[0,0],"trees":[{"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[],"default_left":[1,0,0],"left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_conditions":[5E-1,-1.5E0,NaN],"split_indices":[1,0,0],"split_type":[0,0,0],"sum_hessian":[3E0,1E0,2E0],"tree_param":{"num_deleted":"0","num_nodes":"3","size_leaf_vector":"1"}},{"categories":[1,3],"categories_nodes":[0],"categories_segments":[0],"categories_sizes":[2],"default_left":[false,false,true],"left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_conditions":[0,1,2],"split_indices":[0,0,0],"split_type":[1,0,0],"sum_hessian":[3,0,0],"tree_param":{"num_deleted":"0","num_nodes":"3","size_leaf_vector":"1"}}]},"name":"gbtree"},"learner_model_param":{"base_score":"[5E-1]","num_class":"0","num_feature":"2","num_target":"1"},"objective":{"name":"binary:logistic"}},"version":[3,2,0]}"#;

/// UBJSON, a tree of one leaf under DART.
const DART: &[u8] = b"{i\x07learner{i\x10gradient_booster{i\x06gbtree{i\x05model{i\x12gbtree_model_param{i\x09num_treesSi\x011}\
i\x09tree_info[#i\x01i\x00i\x05trees[#i\x01{i\x0cdefault_left[$U#i\x01\x00i\x0dleft_children[$l#i\x01\xff\xff\xff\xff\
i\x0eright_children[$l#i\x01\xff\xff\xff\xffi\x10split_conditions[$d#i\x01\x3f\x00\x00\x00i\x0dsplit_indices[$l#i\x01\
\x00\x00\x00\x00i\x0bsum_hessian[$d#i\x01\x3f\x80\x00\x00i\x0atree_param{i\x0bnum_deletedSi\x010i\x09num_nodesSi\x011}}}}\
i\x04nameSi\x04darti\x0bweight_drop[#i\x01d\x3f\x00\x00\x00}i\x13learner_model_param{i\x0abase_scoreSi\x032E0\
i\x09num_classSi\x010i\x0bnum_featureSi\x013}i\x09objective{i\x04nameSi\x0dcount:poisson}}}";

const LIGHTGBM: &str = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=regression\n\
feature_names=a b\ntree_sizes=300\n\nTree=0\nnum_leaves=3\nnum_cat=1\nsplit_feature=0 1\nthreshold=0.5 0\ndecision_type=6 1\n\
left_child=-1 -2\nright_child=1 -3\nleaf_value=-1 2 3\nleaf_count=4 1 5\ninternal_count=10 6\ncat_boundaries=0 1\n\
cat_threshold=18\nis_linear=0\nshrinkage=1\n\n\nend of trees\n";

const FOREST: &str = "tree\nversion=v4\nnum_class=2\nnum_tree_per_iteration=2\nmax_feature_idx=0\naverage_output\n\
feature_names=a\n\nTree=0\nnum_leaves=1\nleaf_value=1e300\n\nTree=1\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\n\
threshold=-1e-35\ndecision_type=8\nleft_child=-2\nright_child=-1\nleaf_value=1 -1\nleaf_count=0 0\ninternal_count=0\n\nend of trees\n";
