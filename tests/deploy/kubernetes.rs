//! The manifests of `deploy/kubernetes`: what must agree agrees, and the configuration that its start script puts
//! together is one that the binary takes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place::{Place, checked};
use crate::{approved, deploy, is_there, list, repository, run, text, trace_numbers, yaml};

/// Each way to run it, and the directory with its configuration.
const VARIANTS: [(&str, &str); 2] = [
    ("kubernetes/postgres", "kubernetes/postgres/config"),
    ("kubernetes/embedded", "kubernetes/embedded"),
];

/// Every YAML file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| {
            let is_yaml = path.extension().is_some_and(|e| e == "yaml");
            if path.is_dir() { files(&path) } else { is_yaml.then_some(path).into_iter().collect() }
        })
        .collect();
    found.sort();
    found
}

/// Every object of a variant.
fn objects(variant: &str) -> Vec<Value> {
    let files = files(&repository("deploy").join(variant));
    let all = files.iter().flat_map(|file| yaml(file));
    let objects: Vec<_> = all.filter(|object| object["kind"] != "Kustomization").collect();
    assert!(3 < objects.len(), "{variant} is read from the wrong place");
    objects
}

fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// Objects that make pods.
fn workloads(objects: &[Value]) -> Vec<&Value> {
    ["StatefulSet", "Job"].iter().flat_map(|kind| of_kind(objects, kind)).collect()
}

fn containers(workload: &Value) -> Vec<&Value> {
    let spec = &workload["spec"]["template"]["spec"];
    list(spec, "/initContainers").iter().chain(list(spec, "/containers")).collect()
}

/// The switch's own container.
fn switch(objects: &[Value]) -> (&Value, &Value) {
    let set = of_kind(objects, "StatefulSet")[0];
    let containers = list(set, "/spec/template/spec/containers");
    assert_eq!(containers.len(), 1);
    (set, &containers[0])
}

fn config(directory: &str) -> toml::Table {
    let numbered = |text: String, name| text.replace(&format!("= @{name}@"), "= 1");
    let text = deploy(&format!("{directory}/pinion.toml"));
    let text = ["NODE", "STAN_FIRST", "STAN_LAST"].into_iter().fold(text, numbered);
    text.parse().expect("TOML")
}

/// Name and number of each port the configuration listens on.
fn listens(config: &toml::Table) -> BTreeSet<(String, u64)> {
    let port = |listen: &toml::Value| {
        let listen = listen.as_str().expect("text");
        assert!(listen.starts_with("0.0.0.0:"), "{listen}: the pod's address is not known before");
        listen.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    };
    let links = config["link"].as_array().expect("links").iter();
    let links = links.map(|link| (link["name"].as_str().expect("text"), &link["listen"]));
    let admin = ("admin", &config["admin"]["listen"]);
    links.chain([admin]).map(|(name, listen)| (name.to_owned(), port(listen))).collect()
}

#[test]
fn ports_are_those_of_the_configuration() {
    for (variant, directory) in VARIANTS {
        let objects = objects(variant);
        let (_, container) = switch(&objects);
        let listens = listens(&config(directory));
        let ports = list(container, "/ports").iter().map(|port| {
            (text(port, "/name").to_owned(), port["containerPort"].as_u64().expect("a port"))
        });
        assert_eq!(ports.collect::<BTreeSet<_>>(), listens, "{variant}");
        for service in of_kind(&objects, "Service") {
            for port in list(service, "/spec/ports") {
                let target =
                    (text(port, "/targetPort").to_owned(), port["port"].as_u64().expect("a port"));
                assert!(listens.contains(&target), "{variant}: {target:?}");
            }
        }
        let policies = of_kind(&objects, "NetworkPolicy");
        let switches = policies.iter().find(|p| p["metadata"]["name"] == "pinion-switch");
        let rules = list(switches.expect("a policy"), "/spec/ingress");
        let open = rules.iter().flat_map(|rule| list(rule, "/ports"));
        let open: BTreeSet<_> = open.map(|port| text(port, "/port").to_owned()).collect();
        assert_eq!(open, listens.iter().map(|(name, _)| name.clone()).collect(), "{variant}");
        let nodes = config(directory)["postilion"]["node"].as_array().expect("nodes").clone();
        let out = switches.map(|policy| policy["spec"]["egress"].to_string()).unwrap_or_default();
        for node in nodes {
            let address = node["address"].as_str().expect("text").to_owned();
            let port = address.rsplit(':').next().expect("a port");
            assert!(
                out.contains(&format!("\"port\":{port}")),
                "{variant}: {address} is not let out"
            );
        }
    }
}

/// Each probe asks a path that answers it (`tests/deploy/metrics.rs` asks them of a running switch), and a stop takes
/// no longer than it is given.
#[test]
fn probes_and_the_end_fit_the_switch() {
    for (variant, directory) in VARIANTS {
        let objects = objects(variant);
        let (set, container) = switch(&objects);
        for (probe, path) in
            [("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")]
        {
            assert_eq!(text(container, &format!("/{probe}/httpGet/path")), path);
            assert_eq!(text(container, &format!("/{probe}/httpGet/port")), "admin");
        }
        let config = config(directory);
        assert_eq!(config["admin"]["allow_remote"].as_bool(), Some(true), "else no probe gets in");
        let drain = config["limits"]["drain_seconds"].as_integer().expect("a number");
        let pause = list(container, "/lifecycle/preStop/exec/command");
        let pause: i64 = pause[1].as_str().and_then(|s| s.parse().ok()).expect("seconds");
        let grace = &set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        assert!(drain + pause + 5 <= grace.as_i64().expect("a number"), "{variant}");
    }
}

#[test]
fn pods_can_do_nothing_they_need_not() {
    for (variant, _) in VARIANTS {
        let objects = objects(variant);
        for workload in workloads(&objects) {
            let spec = &workload["spec"]["template"]["spec"];
            let pod = &spec["securityContext"];
            assert_eq!(pod["runAsNonRoot"], true);
            assert!(pod["runAsUser"].as_u64().is_some_and(|user| 1000 < user));
            assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(spec["automountServiceAccountToken"], false);
            for absent in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec.get(absent).is_none(), "{variant}: {absent}");
            }
            for container in containers(workload) {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false);
                assert_eq!(security["readOnlyRootFilesystem"], true);
                assert_eq!(security["capabilities"]["drop"][0], "ALL");
                assert!(container["resources"]["limits"]["memory"].is_string());
                let image = text(container, "/image");
                assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
            }
        }
    }
}

/// Names, selectors and volumes lead to something.
#[test]
fn names_agree() {
    for (variant, _) in VARIANTS {
        let objects = objects(variant);
        let labels: Vec<_> = workloads(&objects)
            .iter()
            .map(|workload| &workload["spec"]["template"]["metadata"]["labels"])
            .collect();
        let selects = |selector: &Value| {
            let wanted = selector.as_object().expect("labels");
            labels.iter().any(|labels| wanted.iter().all(|(key, value)| labels[key] == *value))
        };
        for service in of_kind(&objects, "Service") {
            assert!(selects(&service["spec"]["selector"]), "{variant}: {service}");
        }
        for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
            for object in of_kind(&objects, kind) {
                let key = if kind == "NetworkPolicy" { "podSelector" } else { "selector" };
                assert!(selects(&object["spec"][key]["matchLabels"]), "{variant}: {object}");
            }
        }
        let (set, _) = switch(&objects);
        assert!(selects(&set["spec"]["selector"]["matchLabels"]));
        let services = of_kind(&objects, "Service");
        let headless =
            services.iter().find(|s| s["metadata"]["name"] == set["spec"]["serviceName"]);
        assert_eq!(headless.expect("its service")["spec"]["clusterIP"], "None");
        for workload in workloads(&objects) {
            let spec = &workload["spec"]["template"]["spec"];
            let claims = workload["spec"]["volumeClaimTemplates"].as_array();
            let claims = claims.into_iter().flatten().map(|claim| text(claim, "/metadata/name"));
            let volumes = list(spec, "/volumes").iter().map(|volume| text(volume, "/name"));
            let volumes: BTreeSet<_> = volumes.chain(claims).collect();
            let mounts = containers(workload).into_iter().flat_map(|c| list(c, "/volumeMounts"));
            let mounted: BTreeSet<_> = mounts.map(|mount| text(mount, "/name")).collect();
            assert_eq!(mounted, volumes, "{variant}");
        }
    }
}

#[test]
fn no_secret_is_in_the_files() {
    let all = files(&repository("deploy/kubernetes"));
    let documents = all.iter().flat_map(|file| yaml(file).into_iter().map(move |d| (file, d)));
    for (file, document) in documents {
        assert_ne!(document["kind"], "Secret", "{}", file.display());
        assert!(document.get("secretGenerator").is_none(), "{}", file.display());
    }
}

/// Two switches never share a machine nor a number, and maintenance takes one at a time.
#[test]
fn switches_over_one_database_are_kept_apart() {
    let objects = objects("kubernetes/postgres");
    let (set, _) = switch(&objects);
    assert!(set["spec"]["replicas"].as_u64().is_some_and(|replicas| 2 <= replicas));
    let apart = "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let rule = &list(set, apart)[0];
    assert_eq!(text(rule, "/topologyKey"), "kubernetes.io/hostname");
    assert_eq!(rule["labelSelector"]["matchLabels"], set["spec"]["selector"]["matchLabels"]);
    let budget = of_kind(&objects, "PodDisruptionBudget");
    assert_eq!(budget[0]["spec"]["maxUnavailable"], 1);
    let exchange =
        deploy("kubernetes/postgres/config/pinion.toml").contains("\n[link.key_exchange]");
    assert!(!exchange, "an exchanged key would be in one pod only");
}

/// Runs a start script as its pod would, with directories of this test's own.
struct Pod {
    place: Place,
    variant: &'static str,
}

impl Pod {
    fn new(variant: &'static str) -> Self {
        let place = Place::new();
        let pod = Self { place, variant };
        for (name, at) in [("keys.toml", "secrets/keys/keys.toml"), ("lmk", "secrets/keys/lmk")] {
            let text = fs::read_to_string(pod.place.path(name)).expect("read");
            pod.place.write(at, &text);
        }
        let tls = |name: &str| format!("secrets/link-tls/{name}");
        pod.place.certificate(&tls("tls.crt"), &tls("tls.key"), &tls("ca.crt"));
        pod.place.certificate("db.pem", "db.key", "secrets/database/database-ca.pem");
        pod.place.write("secrets/database/database-password", "a word");
        let config = deploy(&format!("{variant}/pinion.toml"));
        let state = pod.place.path("state").display().to_string();
        pod.place.write("config/pinion.toml", &config.replace("/var/lib/pinion", &state));
        for directory in ["run", "state"] {
            fs::create_dir(pod.place.path(directory)).expect("made");
        }
        pod
    }

    fn start(&self, name: &str, more: &[(&str, &str)]) -> (bool, String) {
        let run_directory = self.place.path("run");
        fs::remove_dir_all(&run_directory).expect("removed");
        fs::create_dir(&run_directory).expect("made");
        let script = repository("deploy").join(self.variant).join("start.sh");
        let mut command = Command::new("/bin/sh");
        command.arg(script).env("POD_NAME", name).envs(more.iter().copied());
        for (variable, directory) in
            [("CONFIG", "config"), ("SECRETS", "secrets"), ("RUN", "run"), ("STATE", "state")]
        {
            command.env(variable, self.place.path(directory));
        }
        run(&mut command)
    }

    fn config(&self) -> PathBuf {
        self.place.path("run/pinion.toml")
    }
}

#[test]
fn each_switch_gets_its_number_its_name_and_a_configuration_that_is_taken() {
    let pod = Pod::new("kubernetes/postgres/config");
    let mut before = 0;
    for (name, number) in [("pinion-0", 1), ("pinion-1", 2), ("pinion-7", 8)] {
        let (good, text) = pod.start(name, &[]);
        assert!(good, "{text}");
        let config: toml::Table =
            fs::read_to_string(pod.config()).expect("read").parse().expect("TOML");
        assert_eq!(config["store"]["postgres"]["node"].as_integer(), Some(number));
        let stan = trace_numbers(&config);
        assert!(before < *stan.start() && 100_000 < stan.clone().count(), "{stan:?}");
        before = *stan.end();
        assert_eq!(checked(&pod.config())["node"], name);
        for secret in ["lmk", "database-password", "tls.key"] {
            let file = fs::metadata(pod.place.path("run").join(secret)).expect("copied");
            assert_eq!(file.permissions().mode() & 0o777, 0o400, "{secret}");
        }
    }
    assert!(before <= 999_999, "six digits");
    let (good, text) = pod.start("pinion-8", &[]);
    assert!(!good && text.contains("node 9"), "{text}");
    let (good, text) = pod.start("pinion-8", &[("SWITCHES", "9")]);
    assert!(good, "{text}");
}

/// The same switches as Deployments, one a site: each with its number, and the old one gone before the new one comes.
#[test]
fn a_site_is_a_deployment_with_a_number_of_its_own() {
    if !is_there("kubectl") {
        return;
    }
    let base = objects("kubernetes/postgres");
    let (set, container) = switch(&base);
    let place = Place::new();
    let sites = yaml(&place.write("sites.yaml", &kustomized("postgres/sites")));
    assert!(of_kind(&sites, "StatefulSet").is_empty());
    let mut apart = BTreeSet::new();
    for (site, number) in of_kind(&sites, "Deployment").into_iter().zip(1..) {
        assert_eq!(
            (&site["spec"]["replicas"], &site["spec"]["strategy"]["type"]),
            (&1.into(), &"Recreate".into())
        );
        let pod = &site["spec"]["template"];
        assert_eq!(pod["spec"]["containers"][0], *container, "nothing else is another");
        assert_eq!(pod["spec"]["affinity"], set["spec"]["template"]["spec"]["affinity"]);
        let start = &list(pod, "/spec/initContainers")[0];
        let node = list(start, "/env").iter().find(|variable| variable["name"] == "NODE");
        assert_eq!(node.expect("a number")["value"], format!("{number}"));
        let selector = &site["spec"]["selector"]["matchLabels"];
        assert_eq!(pod["metadata"]["labels"], *selector);
        apart.insert((selector.to_string(), pod["spec"]["nodeSelector"].to_string()));
    }
    assert_eq!(apart.len(), 2, "two sites");
}

/// The job has the same configuration, another role, and no keys.
#[test]
fn the_migration_has_a_role_of_its_own() {
    let objects = objects("kubernetes/postgres");
    let job = of_kind(&objects, "Job")[0];
    let start = &list(job, "/spec/template/spec/initContainers")[0];
    let given: Vec<_> = list(start, "/env")
        .iter()
        .map(|variable| (text(variable, "/name"), text(variable, "/value")))
        .filter(|(name, _)| ["NODE", "ROLE"].contains(name))
        .collect();
    let pod = Pod::new("kubernetes/postgres/config");
    let (good, said) = pod.start("pinion-migrate", &given);
    assert!(good, "{said}");
    let text = fs::read_to_string(pod.config()).expect("read");
    assert!(text.contains("postgresql://pinion_migrate@"), "{text}");
    assert!(deploy("systemd/two-nodes/roles.sql").contains("CREATE ROLE pinion_migrate LOGIN"));
    let volumes = list(job, "/spec/template/spec/volumes").iter();
    let secrets = volumes.filter_map(|volume| volume.pointer("/secret/secretName")?.as_str());
    assert_eq!(secrets.collect::<Vec<_>>(), ["pinion-migrate-database"]);
}

/// The key file on the volume is the switch's: a later start does not put the Secret's older one over it.
#[test]
fn an_exchanged_key_survives_a_new_pod() {
    let pod = Pod::new("kubernetes/embedded");
    let (good, text) = pod.start("pinion-0", &[]);
    assert!(good, "{text}");
    assert_eq!(checked(&pod.config())["node"], "pinion-0");
    let changed =
        fs::read_to_string(pod.place.path("state/keys.toml")).expect("read") + "# changed\n";
    pod.place.write("state/keys.toml", &changed);
    let (good, text) = pod.start("pinion-0", &[]);
    assert!(good, "{text}");
    assert_eq!(fs::read_to_string(pod.place.path("state/keys.toml")).expect("read"), changed);
}

/// What `kubectl apply --kustomize` would send.
fn kustomized(directory: &str) -> String {
    let path = repository("deploy/kubernetes").join(directory);
    approved(Command::new("kubectl").arg("kustomize").arg(path))
}

/// Kustomize builds each, and all of it is as the API's own schemas want it, without a field they do not know.
#[test]
fn each_is_what_the_api_takes() {
    if !is_there("kubectl") {
        return;
    }
    for directory in ["postgres", "postgres/sites", "postgres/migrate", "embedded"] {
        let text = kustomized(directory);
        assert!(text.contains("name: pinion-config-"), "the name has the hash of its contents");
        assert!(text.contains("namespace: pinion"), "{text}");
        let place = Place::new();
        let file = place.write("all.yaml", &text);
        approved(Command::new("kubernetes-validate").arg("--strict").arg(file));
    }
}
