//! The settings of an agent: the usual ones, those that its model's profile changes, and those that `--set` does.

use pagewise_agent::AgentConfig;
use serde_json::Value;

use crate::args::CommonArgs;
use crate::failure::Failure;
use crate::weights;

/// Returns the settings of an agent with the model of `args`, whose entry in the catalog may have some that suit
/// it better than the usual ones.
pub(crate) fn for_model(args: &CommonArgs) -> Result<AgentConfig, Failure> {
    let profile = weights::entry(args).into_iter().flat_map(|entry| &entry.agent);
    let profiled = with_settings(AgentConfig::default(), profile).map_err(|problem| {
        Failure::usage(format!("the profile of {} in the catalog: {problem}", args.model))
    })?;
    // What the flags say comes after it.
    Ok(AgentConfig { sampling: weights::sampling(args), seed: args.seed, ..profiled })
}

/// Reads a name and a value with an equals sign between them; what is no JSON is a text.
pub(crate) fn setting(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((name.into(), value))
        }
        _ => Err("a setting of the agent and its value, such as intake=false".into()),
    }
}

/// Returns `agent` with the settings of `--set`.
pub(crate) fn with_set(
    agent: AgentConfig,
    settings: &[(String, Value)],
) -> Result<AgentConfig, Failure> {
    let settings = settings.iter().map(|(name, value)| (name, value));
    with_settings(agent, settings).map_err(|problem| Failure::usage(format!("--set: {problem}")))
}

/// Returns `agent` with these settings, or what is wrong with them.
fn with_settings<'a>(
    agent: AgentConfig,
    settings: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> Result<AgentConfig, String> {
    let problem = |error: serde_json::Error| error.to_string();
    let mut value = serde_json::to_value(agent).map_err(problem)?;
    for (name, set) in settings {
        let names = || value.as_object().into_iter().flat_map(|all| all.keys());
        if !names().any(|known| known == name) {
            let names: Vec<&str> = names().map(String::as_str).collect();
            return Err(format!("the agent has no setting {name}, only {}", names.join(", ")));
        }
        value[name] = set.clone();
    }
    serde_json::from_value(value).map_err(problem)
}

#[cfg(test)]
mod tests {
    use pagewise_hub::catalog;

    use super::*;

    #[test]
    fn a_setting_is_changed_and_nothing_else() {
        let set = |text: &str| with_set(AgentConfig::default(), &[setting(text).unwrap()]);
        let expected = AgentConfig { intake: false, ..AgentConfig::default() };
        assert!(set("intake=false").is_ok_and(|agent| agent == expected));
        let expected = AgentConfig {
            rendering: pagewise_agent::Rendering::Transcript,
            ..AgentConfig::default()
        };
        assert!(set("rendering=transcript").is_ok_and(|agent| agent == expected));
    }

    #[test]
    fn what_is_no_setting_is_refused_with_a_sentence() {
        let error = |text: &str| {
            let set = with_set(AgentConfig::default(), &[setting(text).unwrap()]);
            format!("{:?}", set.expect_err("it is no setting"))
        };
        assert!(error("intakes=false").contains("no setting intakes, only persona"));
        assert!(error("page_size=many").contains("--set: invalid type"));
        assert!(setting("intake").is_err_and(|error| error.contains("such as intake=false")));
    }

    #[test]
    fn a_profile_changes_what_it_names() {
        let profile = [("checking".to_string(), Value::from(false))];
        let settings = profile.iter().map(|(name, value)| (name, value));
        let expected = AgentConfig { checking: false, ..AgentConfig::default() };
        assert_eq!(with_settings(AgentConfig::default(), settings), Ok(expected));
        let unknown = [("cheking".to_string(), Value::from(false))];
        let settings = unknown.iter().map(|(name, value)| (name, value));
        assert!(with_settings(AgentConfig::default(), settings).is_err());
    }

    #[test]
    fn every_profile_of_the_catalog_is_one_of_settings() {
        for entry in catalog::entries() {
            let profiled = with_settings(AgentConfig::default(), &entry.agent);
            assert!(profiled.is_ok(), "{}: {profiled:?}", entry.name);
            assert!(entry.agent.is_empty() || profiled != Ok(AgentConfig::default()));
        }
    }
}
