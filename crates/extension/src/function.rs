//! Who the function is: its name and ARN, the tags of all its data, and with them the settings of the engine.
//! Put together once, when Lambda has answered the registration.

use engine::Settings;
use model::{Arn, Text, keys};

use crate::config::Config;
use crate::sinks;
use crate::sources::dogstatsd::Labels;

/// Data is held per signal for as long as it is below this share of the memory that the extension may take. It is
/// measured as encoded; in memory it takes up to four times as much.
const BATCH_SHARE: usize = 8;

/// What stands for an account that Lambda did not tell.
const NO_ACCOUNT: &str = "none";

/// The identity of the function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) account: Option<String>,
    /// Unqualified, lower case.
    pub(crate) arn: String,
}

impl Function {
    /// `registered_name` and `account` are what the Extensions API said.
    pub(crate) fn new(config: &Config, registered_name: Option<String>, account: Option<String>) -> Self {
        let name = config.lambda.function_name.clone().or(registered_name).unwrap_or_default();
        let region = config.lambda.region.clone();
        let part = account.as_deref().unwrap_or(NO_ACCOUNT);
        let arn = format!("arn:{}:lambda:{region}:{part}:function:{name}", Arn::partition_of(&region));
        Self { name, region, account, arn: arn.to_lowercase() }
    }

    /// The settings of the engine. `seed` is different in every process.
    pub(crate) fn settings(&self, config: &Config, seed: u64) -> Settings {
        Settings {
            function_name: self.name.clone().into(),
            function_arn: self.arn.clone().into(),
            service: config.service.clone().map(Into::into),
            env: config.env.clone().map(Into::into),
            version: config.version.clone().map(Into::into),
            function_tags: self.tags(config),
            trace_rules: config.trace_rules.clone(),
            compute_stats: config.compute_stats,
            enhanced_metrics: config.enhanced_metrics,
            traces: config.traces_enabled,
            logs: config.logs(),
            log_rules: config.log_rules.clone(),
            platform_logs: config.platform_logs,
            durable_hold: config.durable_hold,
            metric_namespace: config.metric_namespace.clone().unwrap_or_default().into(),
            metric_tags: config.metric_tags.clone(),
            span_tags: config.span_tags.clone(),
            log_tags: config.log_tags.clone(),
            copied: sinks::copied(config),
            batch_bytes: config.memory_limit / BATCH_SHARE,
            flush_timeout: config.flush_timeout,
            flush_strategy: config.flush_strategy,
            seed,
            managed_instances: config.lambda.is_managed(),
        }
    }

    /// What the trigger crate needs to know of the function.
    pub(crate) fn for_trigger(&self) -> trigger::Function {
        trigger::Function {
            name: self.name.clone(),
            region: self.region.clone(),
            account: self.account.clone().unwrap_or_default(),
        }
    }

    /// What events and service checks of DogStatsD's clients get of the function.
    pub(crate) fn statsd_labels(&self, config: &Config) -> Labels {
        let tags = self.tags(config).iter().map(|(key, value)| format!("{key}:{value}").into()).collect();
        Labels { tags, host: self.arn.clone() }
    }

    fn tags(&self, config: &Config) -> Vec<(Text, Text)> {
        let lambda = &config.lambda;
        let is_version = lambda.function_version != "$LATEST";
        let version = is_version.then(|| lambda.function_version.clone());
        let resource = match &version {
            Some(version) => format!("{}:{version}", self.name),
            None => self.name.clone(),
        };
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { std::env::consts::ARCH };
        let known = [
            (keys::lambda::REGION, Some(self.region.clone())),
            (keys::lambda::ACCOUNT_ID, self.account.clone()),
            (keys::lambda::AWS_ACCOUNT, self.account.clone()),
            (keys::lambda::FUNCTION_NAME, Some(self.name.clone())),
            (keys::lambda::RESOURCE, Some(resource)),
            (keys::lambda::EXECUTED_VERSION, version),
            (keys::lambda::FUNCTION_ARN, Some(self.arn.clone())),
            (keys::lambda::MEMORY_SIZE, lambda.memory_size_mb.map(|mb| mb.to_string())),
            (keys::lambda::INIT_TYPE, Some(lambda.initialization_type.clone())),
            (keys::lambda::ARCHITECTURE, Some(architecture.to_owned())),
            (keys::lambda::EXTENSION_VERSION, Some(env!("CARGO_PKG_VERSION").to_owned())),
            (keys::trace::ENV, config.env.clone()),
            (keys::trace::SERVICE, config.service.as_ref().map(|service| service.to_lowercase())),
            (keys::trace::VERSION, config.version.clone()),
        ];
        let known = known.into_iter().filter_map(|(key, value)| Some((key.into(), value?.into())));
        known.chain(config.tags.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::parse(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn arns() {
        let check = |region: &str, account: Option<&str>, want: &str| {
            let config = config(&[("AWS_REGION", region), ("AWS_LAMBDA_FUNCTION_NAME", "Orders")]);
            assert_eq!(Function::new(&config, None, account.map(Into::into)).arn, want);
        };
        check("eu-west-1", Some("123456789012"), "arn:aws:lambda:eu-west-1:123456789012:function:orders");
        check("cn-north-1", Some("1"), "arn:aws-cn:lambda:cn-north-1:1:function:orders");
        check("us-gov-west-1", None, "arn:aws-us-gov:lambda:us-gov-west-1:none:function:orders");
    }

    #[test]
    fn tags() {
        let config = config(&[
            ("AWS_REGION", "eu-west-1"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency"),
            ("DD_SERVICE", "Shop"),
            ("DD_ENV", "prod"),
            ("DD_TAGS", "team:a"),
        ]);
        let function = Function::new(&config, Some("orders".to_owned()), Some("1".to_owned()));
        let settings = function.settings(&config, 1);
        let tags: Vec<_> = settings.function_tags.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        assert_eq!(
            tags.join(","),
            format!(
                "region:eu-west-1,account_id:1,aws_account:1,functionname:orders,resource:orders:7,\
                 executedversion:7,function_arn:arn:aws:lambda:eu-west-1:1:function:orders,memorysize:512,\
                 init_type:provisioned-concurrency,architecture:{architecture},\
                 dd_extension_version:{},env:prod,service:shop,team:a",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert_eq!(settings.batch_bytes, 8 << 20);
    }
}
