//! What XGBoost's `base_score` is in margin space: it is stored as the objective's
//! prediction (a probability, a mean) and enters the sum of the trees as a margin.
//!
//! Not here: predictions from margins.

use super::super::ModelError;

/// How an objective's predictions become margins.
enum Link {
    /// They are margins.
    Identity,
    /// They are probabilities: log-odds.
    Logit,
    /// They are positive: the logarithm.
    Log,
}

/// The margin of each output before any tree. `base_score` is one number (`5E-1`) or,
/// since 3.0, a list (`[5E-1]`), one an output or one for all.
pub(super) fn base_margins(objective: &str, base_score: &str, outputs: usize) -> Result<Vec<f64>, ModelError> {
    let link = link(objective)?;
    let list = base_score.trim().trim_start_matches('[').trim_end_matches(']');
    let margins = list.split(',').map(|score| margin(&link, score.trim())).collect::<Result<Vec<f64>, _>>()?;
    match margins.len() {
        1 => Ok(vec![margins[0]; outputs]),
        count if count == outputs => Ok(margins),
        count => Err(ModelError::broken("base_score", format!("{count} numbers for {outputs} outputs"))),
    }
}

fn margin(link: &Link, score: &str) -> Result<f64, ModelError> {
    let number = score.parse::<f32>().ok().map(f64::from);
    let margin = number.map(|score| match link {
        Link::Identity => score,
        Link::Logit => libm::log(score / (1.0 - score)),
        Link::Log => libm::log(score),
    });
    margin
        .filter(|margin| margin.is_finite())
        .ok_or_else(|| ModelError::broken("base_score", format!("`{}` is no start score", score.escape_debug())))
}

fn link(objective: &str) -> Result<Link, ModelError> {
    match objective {
        "binary:logistic" | "reg:logistic" => Ok(Link::Logit),
        "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => Ok(Link::Log),
        "reg:squarederror"
        | "reg:linear"
        | "reg:squaredlogerror"
        | "reg:pseudohubererror"
        | "reg:absoluteerror"
        | "reg:quantileerror"
        | "reg:expectileerror"
        | "binary:logitraw"
        | "binary:hinge"
        | "multi:softmax"
        | "multi:softprob"
        | "rank:pairwise"
        | "rank:ndcg"
        | "rank:map" => Ok(Link::Identity),
        other => Err(ModelError::Refused(format!(
            "what its start score means under the objective `{}` is unknown",
            other.escape_debug()
        ))),
    }
}
