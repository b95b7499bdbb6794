//! `--set NAME=VALUE`: the agent with other settings than usual, to see what one of them does.

use pagewise_agent::AgentConfig;
use serde_json::Value;

use crate::failure::Failure;

/// Reads a name and a value with an equals sign between them; what is no JSON is a text.
pub(super) fn setting(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((name.into(), value))
        }
        _ => Err("a setting of the agent and its value, such as intake=false".into()),
    }
}

/// Returns `agent` with these settings.
pub(super) fn with_settings(
    agent: AgentConfig,
    settings: &[(String, Value)],
) -> Result<AgentConfig, Failure> {
    let unusable = |error: serde_json::Error| Failure::usage(format!("--set: {error}"));
    let mut value = serde_json::to_value(agent).map_err(unusable)?;
    for (name, set) in settings {
        let names = || value.as_object().into_iter().flat_map(|all| all.keys());
        if !names().any(|known| known == name) {
            let names: Vec<&str> = names().map(String::as_str).collect();
            return Err(Failure::usage(format!(
                "--set: the agent has no setting {name}, only {}",
                names.join(", ")
            )));
        }
        value[name] = set.clone();
    }
    serde_json::from_value(value).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_changed_and_nothing_else() {
        let set = |text: &str| with_settings(AgentConfig::default(), &[setting(text).unwrap()]);
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
            let set = with_settings(AgentConfig::default(), &[setting(text).unwrap()]);
            format!("{:?}", set.expect_err("it is no setting"))
        };
        assert!(error("intakes=false").contains("no setting intakes, only persona"));
        assert!(error("page_size=many").contains("--set: invalid type"));
        assert!(setting("intake").is_err_and(|error| error.contains("such as intake=false")));
    }
}
