//! Integration tests: the program and its library on real directories, real servers and real file systems.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests set the stage with the system's own calls, and end where that fails"
)]

mod agent_process;
mod archives;
mod cluster;
#[path = "../../fuzz/decoders.rs"]
mod decoders;
mod prerequisite;
mod spoken;
mod ssh_server;
mod traced;

mod advise;
mod cli_bench;
mod cli_config;
mod cli_output;
mod cli_usage;
mod confinement;
mod crash_points;
mod doctor;
mod doctor_hostile;
mod doctor_hub;
mod doctor_ssh;
mod example;
mod fuzz_corpus;
mod fuzz_seeds;
mod hostile_agent;
mod hostile_agent_lies;
mod hostile_hub;
mod hostile_hub_content;
mod hostile_hub_words;
mod hostile_mutations;
mod hub_batches;
mod hub_cluster;
mod hub_early;
mod hub_runs;
mod hub_ssh;
mod hub_history;
mod history;
mod hub_state;
mod import;
mod lab_cluster;
mod lab_push;
mod later_times;
mod link_network;
mod link_reuse;
mod link_start;
mod link_trust;
mod lint;
mod node_access;
mod node_commit;
mod node_extras;
mod node_hostile;
mod node_model;
mod node_mounts;
mod node_order;
mod node_patches;
mod node_recover;
mod node_spoken;
mod node_state;
mod node_swap;
mod node_types;
mod node_work;
mod os_confine;
mod os_dir;
mod recipe_cron;
mod recipe_files;
mod recipe_managed;
mod recipe_nfs;
mod recipe_systemd;
mod release_file;
mod returning_nodes;
mod rollback;
mod shared;
mod simulation;
mod slim_agent;
mod power_loss;
mod presets;
mod presets_init;
mod source_faults;
mod source_index;
mod source_names;
mod source_tree;
mod source_unstable;
mod status;
mod verify;
mod verify_random;
