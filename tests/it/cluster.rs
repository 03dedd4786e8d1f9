//! A RabbitMQ cluster on one machine, whose nodes can be killed one by one.

use std::fmt::Write as _;

use crate::{
    broker::Broker,
    keeper::{Node, free_ports, version},
};

/// Nodes that know each other; the minority pauses when they lose sight of each other.
pub struct Cluster {
    nodes: Vec<Broker>,
}

impl Cluster {
    /// Starts `count` nodes together; returns when all are ready, after 10 to 20 s.
    pub fn start(count: usize) -> Self {
        let [epmd_port] = free_ports();
        let settings = settings(count);
        let launch = |number: usize| {
            let [port, dist_port] = free_ports();
            let name = format!("c{number}");
            let runs_epmd = number == 1;
            Broker::launch(Node {
                name,
                port,
                dist_port,
                epmd_port,
                runs_epmd,
                settings: settings.clone(),
            })
        };
        let nodes: Vec<Broker> = (1..=count).map(launch).collect();
        for node in &nodes {
            node.wait_ready();
        }
        let cluster = Self { nodes };
        cluster.wait_complete();
        cluster
    }

    /// One of the nodes, from 0.
    pub fn node(&self, index: usize) -> &Broker {
        &self.nodes[index]
    }

    /// Addresses of all nodes, as for `amqp.urls`.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Broker::url).collect()
    }

    /// Addresses of a virtual host on all nodes.
    pub fn urls_of(&self, vhost: &str) -> Vec<String> {
        self.nodes.iter().map(|node| node.url_of(vhost)).collect()
    }

    /// The node whose name stands in a line that RabbitMQ printed.
    pub fn named_in(&self, line: &str) -> usize {
        let named = |index: &usize| line.contains(&format!("c{}@localhost", index + 1));
        (0..self.nodes.len())
            .find(named)
            .unwrap_or_else(|| panic!("no node is named in {line:?}"))
    }

    /// Starts the nodes that do not run; returns when all see each other.
    pub fn mend(&self) {
        for node in self.nodes.iter().filter(|node| !node.accepts_connections()) {
            node.start_again();
        }
        self.wait_complete();
    }

    /// SIGKILL for one node.
    pub fn kill(&self, index: usize) {
        self.nodes[index].kill();
    }

    /// Each node that runs says that it sees all the others running.
    fn wait_complete(&self) {
        let count = self.nodes.len();
        let check = format!("rabbit_nodes:await_running_count({count}, 60000).");
        for node in &self.nodes {
            assert_eq!(
                node.evaluate(&check).trim(),
                "ok",
                "the cluster is not complete"
            );
        }
    }
}

fn settings(count: usize) -> String {
    let mut settings = String::from(
        "cluster_partition_handling = pause_minority\n\
         cluster_formation.peer_discovery_backend = classic_config\n",
    );
    // 4.x has no such delay any more, and refuses what it does not know.
    if version() < (4, 0) {
        settings.push_str(
            "cluster_formation.randomized_startup_delay_range.min = 0\n\
             cluster_formation.randomized_startup_delay_range.max = 1\n",
        );
    }
    for number in 1..=count {
        let _ = writeln!(
            settings,
            "cluster_formation.classic_config.nodes.{number} = c{number}@localhost"
        );
    }
    settings
}
