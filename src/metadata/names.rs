//! What the configuration says of Kubernetes → a directory that is kept up to date, one that was read from a file, or none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::directory::Directory;
use super::offline::{self, OfflineError};
use super::status::MetadataStatus;
use super::watches::{self, Scope, Watches};
use crate::span::{EndpointLookup, NoNames};

/// How long spans wait for names when the agent starts. Exchanges are captured meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where names come from, and for whom.
#[derive(Clone, Debug)]
pub struct MetadataConfig {
    /// Where from.
    pub source: MetadataSource,
    /// Of which pods.
    pub scope: Scope,
    /// This node's name.
    pub node: Option<String>,
    /// Addresses that are this node's.
    pub own_addresses: Vec<IpAddr>,
}

/// Where names come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MetadataSource {
    /// Nowhere.
    Off,
    /// From the API server, if the agent runs in a cluster or `KUBECONFIG` names one.
    Auto,
    /// From the API server, by the usual files.
    On,
    /// From the API server that a kubeconfig names.
    Kubeconfig(PathBuf),
    /// From a file.
    File(PathBuf),
}

/// Names, and how it stands with them.
pub struct Names {
    directory: Option<Arc<Directory>>,
    /// Where names are watched.
    status: Option<Arc<MetadataStatus>>,
    watched: Option<(Client, Watches)>,
}

impl Names {
    /// Reads what must be read while every file still can be. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A file of names that cannot be used. That there is no way to an API server is no error: it is told, and spans go without
    /// names.
    pub async fn open(config: &MetadataConfig) -> Result<Self, OfflineError> {
        // It is large: who has no names to look up does without it.
        let directory = || Arc::new(Directory::new(config.node.as_deref()));
        let found = match &config.source {
            MetadataSource::Off => return Ok(Self::none()),
            MetadataSource::File(path) => {
                let directory = directory();
                let [pods, services, nodes] = offline::read(path, &directory)?;
                tracing::info!("{} names {pods} pods, {services} services and {nodes} nodes.", path.display());
                return Ok(Self { directory: Some(directory), status: None, watched: None });
            }
            MetadataSource::Auto if is_set("KUBERNETES_SERVICE_HOST") => {
                kube::Config::incluster().map_err(|error| error.to_string())
            }
            MetadataSource::Auto if !is_set("KUBECONFIG") => return Ok(Self::none()),
            MetadataSource::Kubeconfig(path) => of_kubeconfig(path).await,
            MetadataSource::Auto | MetadataSource::On => kube::Config::infer().await.map_err(|error| error.to_string()),
        };
        let status = Arc::<MetadataStatus>::default();
        let client = found.and_then(|config| watches::client(config).map_err(|error| error.to_string()));
        let watched = match client {
            Ok(client) => {
                let (scope, node) = (config.scope, config.node.clone());
                Some((client, Watches { scope, node, own_addresses: config.own_addresses.clone() }))
            }
            Err(reason) => {
                tracing::warn!("There is no way to the API server of Kubernetes, spans go without its names: {reason}");
                status.unreachable(&reason);
                None
            }
        };
        Ok(Self { directory: Some(directory()), status: Some(status), watched })
    }

    fn none() -> Self {
        Self { directory: None, status: None, watched: None }
    }

    /// Starts to watch, if there is something to be watched. Must be called within a tokio runtime.
    pub fn follow(&mut self) {
        let (Some((client, watches)), Some(directory), Some(status)) =
            (self.watched.take(), &self.directory, &self.status)
        else {
            return;
        };
        tokio::spawn(watches::follow(client, watches, directory.clone(), status.clone()));
    }

    /// Tries what watching needs: whether pods, Services and nodes may be listed. `None` where nothing is to be watched.
    ///
    /// # Errors
    /// What is wrong and what to do about it.
    pub async fn check(&self) -> Option<Result<String, String>> {
        match (&self.watched, &self.status) {
            (Some((client, _)), _) => Some(watches::check(client).await),
            (None, Some(status)) => status.obstacle().map(Err),
            (None, None) => None,
        }
    }

    /// Who knows them.
    pub fn lookup(&self) -> Arc<dyn EndpointLookup + Send + Sync> {
        match &self.directory {
            Some(directory) => directory.clone(),
            None => Arc::new(NoNames),
        }
    }

    /// How the watches fare, where there are any.
    pub fn status(&self) -> Option<Arc<MetadataStatus>> {
        self.status.clone()
    }
}

/// Comes back when names are known, or when spans must not wait any longer for them.
pub async fn wait(status: Option<Arc<MetadataStatus>>) {
    if let Some(status) = status {
        status.complete(PATIENCE).await;
    }
}

async fn of_kubeconfig(path: &Path) -> Result<kube::Config, String> {
    let file = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    config.map_err(|error| error.to_string())
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}
